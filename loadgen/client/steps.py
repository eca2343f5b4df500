"""The steps of a probe: their results and their errors."""

from dataclasses import asdict, dataclass
from typing import Any

from loadgen.measure.clock import now_ns


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step.

    ``ok`` is None if the step was not tried. The cause is then the failure of an earlier step, or the reason in
    ``detail``. ``advice`` says how to fix a failure.
    """

    name: str
    ok: bool | None
    elapsed_ms: float | None = None
    detail: str = ""
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


class StepError(Exception):
    """A step failed; the message says why, and ``advice`` how to fix it."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.advice = advice


class SkippedError(Exception):
    """A step does not apply to the target; the message says why."""


def own_event() -> tuple[str, int]:
    """Return a unique event of a probe, and its time of sending (ns)."""
    sent_ns = now_ns()
    return f'{{"loadgen":"probe","sent_ns":{sent_ns}}}', sent_ns
