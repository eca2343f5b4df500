"""The error of the notebooks."""


class NotebookError(Exception):
    """A notebook cannot be executed or read; the message is one sentence."""
