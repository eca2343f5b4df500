"""The gates of a scenario: conditions that a run must meet to pass.

The grammar of a gate is defined in the `analysis` package, so that scenario and analysis cannot disagree.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from analysis.gates.grammar import Gate, GateError, parse
from loadgen.config.base import MAPPING, WORD, Part, word_or_mapping
from loadgen.config.units import PositiveDurationNs, problem


def _readable(text: str) -> str:
    try:
        parse(text)
    except GateError as error:
        raise problem(f"cannot be: {error}") from None
    return text


class LongGate(Part):
    """A gate with options."""

    check: Annotated[str, AfterValidator(_readable)]
    """The condition that the run must meet, such as delivery.latency.p99 < 150ms."""
    over_ns: PositiveDurationNs | None = Field(default=None, alias="over")
    """The length of a window, such as 5s. The gate must hold in every window of this length within the measurement.
    Without it, the gate applies to the measurement as a whole."""
    abort_early: bool = False
    """True to end the run as soon as a window fails the gate, judged by histograms that the workers send during the
    run. Only gates on delivery.latency that have 'over' take it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            self.gate()
        except GateError as error:
            raise problem(str(error)) from None
        if self.abort_early and self.gate().over_ns is None:
            raise problem("has abort_early without a window; add 'over: 5s'")
        return self

    def gate(self) -> Gate:
        """Return the parsed gate; raises GateError if it is invalid."""
        return parse(self.check).with_options(self.over_ns, self.abort_early)


GateText = Annotated[
    Annotated[Annotated[str, AfterValidator(_readable)], Tag(WORD)] | Annotated[LongGate, Tag(MAPPING)],
    Discriminator(word_or_mapping),
]


def gate_of(written: str | LongGate) -> Gate:
    """Return the gate that an entry of the scenario's list of gates describes."""
    return written.gate() if isinstance(written, LongGate) else parse(written)
