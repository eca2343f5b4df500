"""Authorization of connect, publish and subscribe: one module for each mode, and `access`, which chooses the mode.

botocore (SigV4) and PyJWT (JSON Web Tokens) do the cryptography. This package adds only the rules of AppSync Events.
"""
