"""Make a credential from the description of a login: read the environment, AWS profiles and token sources.

The description is a `loadgen.scenario.login.Login`. The result is a `loadgen.protocol.appsync.auth.Credential`, or a
user and password or a certificate of `loadgen.protocol.mqtt.auth`. No description, `repr` or error shows a secret.
"""
