"""From a login's description to a credential that works: reads the environment, profiles and token sources.

The description is `loadgen.scenario.login.Login`, the result a `loadgen.protocol.appsync.auth.Credential`. No secret is
kept in a description, shown by a `repr`, or told in an error.
"""
