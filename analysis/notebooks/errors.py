"""The error raised if a notebook cannot be executed or read."""


class NotebookError(Exception):
    """A notebook cannot be executed or read; the message is one sentence."""
