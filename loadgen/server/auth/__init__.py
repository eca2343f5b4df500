"""Who may connect, publish and subscribe: one module for each authorization mode, and `access` that chooses.

Cryptography is botocore's (SigV4) and PyJWT's (JSON Web Tokens); here is only what AppSync Events adds to them.
"""
