"""Exceptions of a journey's client for failures of the service, which are not counted as failures of user code."""


class JourneyError(Exception):
    """The service failed a request of a journey, which is already recorded; a task that does not catch this ends."""


class RefusedError(JourneyError):
    """The service refused a connection or a subscription."""


class NoAnswerError(JourneyError):
    """The service could not be reached, or did not answer in time."""
