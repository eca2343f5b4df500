"""A local stand-in for GraphQL subscriptions of AWS AppSync: the part of the service that load needs.

It has the handshake, the messages, the mutations over HTTP, the filtering by arguments, the quotas and the losses that
`docs/appsync-graphql.md` lists. Each mutation has a local resolver that returns its arguments, as the NONE data source
of AWS's generic API does. There are no queries of data, no enhanced filters and no resolvers of one's own.
"""
