"""Exceptions of a journey's client for failures of the service, which are not counted as failures of user code."""


class JourneyError(Exception):
    """The service failed a request of a journey; the failure is already recorded.

    A task that does not catch this error ends.
    """


class RefusedError(JourneyError):
    """The service refused a connection or a subscription."""


class NoAnswerError(JourneyError):
    """The service could not be reached, or did not answer in time."""
