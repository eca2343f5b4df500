"""The exception for logins whose secret is missing or cannot be used."""


class CredentialError(Exception):
    """A secret is missing, cannot be obtained or may not be used; the message is one sentence without a secret."""
