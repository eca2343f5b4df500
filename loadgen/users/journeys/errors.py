"""What a journey's client raises when the service did not do what it was asked: no fault of the user's code."""


class JourneyError(Exception):
    """The service did not do what a journey asked; the record has it, and the task that does not catch it ends."""


class RefusedError(JourneyError):
    """The service refused a connection or a subscription."""


class NoAnswerError(JourneyError):
    """The service could not be reached, or did not answer in time."""
