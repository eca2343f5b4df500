"""Make a credential from the description of a login: read the environment, AWS profiles and token sources.

The description is a `loadgen.scenario.login.Login`. The result is a `loadgen.protocol.appsync.auth.Credential`; for
MQTT, it is a type of `loadgen.protocol.mqtt.auth`, with a user and password or a certificate. No description, `repr` or
error shows a secret.
"""
