"""The interface of a worker's echo lane to the worker's other parts, and a stand-in for a run without echoes.

The echo lane publishes to a channel to which only this worker subscribes, over separate connections, and times the
round trip of each event, an echo (see `loadgen.run.echo`).
"""

from typing import Any, Protocol

from loadgen.measure.rows import EchoRow


class Echoes(Protocol):
    """The echo lane of one worker, which times events from the worker to itself; see `loadgen.run.echo.EchoLane`."""

    @property
    def sent(self) -> int:
        """Number of echoes published."""

    @property
    def returned(self) -> int:
        """Number of echoes that came back."""

    def start(self) -> None:
        """Connect and publish in a greenlet."""

    def take(self) -> list[EchoRow]:
        """Return the echoes that have come back since the last call."""

    def stop(self) -> list[EchoRow]:
        """Close the connections and return the last echoes."""

    def to_dict(self) -> dict[str, Any] | None:
        """Return the manifest's `workers[].echo`, or None if the run has no echoes."""


class NoEchoes:
    """Takes the place of the echo lane in a run without echoes."""

    sent = 0
    returned = 0

    def start(self) -> None:
        """Do nothing, as the run has no echoes."""

    def take(self) -> list[EchoRow]:
        """Return no echoes."""
        return []

    def stop(self) -> list[EchoRow]:
        """Return no echoes."""
        return []

    def to_dict(self) -> None:
        """Return None, as the run has no echoes."""
        return
