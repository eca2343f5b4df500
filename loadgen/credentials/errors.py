"""What goes wrong before anything is sent."""


class CredentialError(Exception):
    """A secret is not where it should be, or cannot be had; the message is one sentence without a secret."""
