"""A local stand-in for GraphQL subscriptions of AWS AppSync, with the parts of the service that a load test uses.

The stand-in has the handshake, the messages, the mutations over HTTP, the filtering by arguments, the quotas and the
losses that `docs/appsync-graphql.md` lists. Each mutation has a local resolver that returns its arguments, as the NONE
data source of AWS's generic API does. The stand-in has no queries, no enhanced filters and no custom resolvers.
"""
