"""The grammar of a gate.

    gate   = metric operator value ["over" duration]
    metric = word {"." word}                      delivery.latency.p99, fanout.complete, …
    op     = "<" | "<=" | ">" | ">=" | "==" | "!="
    value  = number unit                          ns us µs ms s m (duration), % (share), /s (rate), none (count)

With `over` the gate must hold in every window of that length, counted from the start of the measurement. Without it,
the gate must hold over the whole measurement. `==` and `!=` are not allowed for durations and rates: a measured value
practically never equals the threshold.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from analysis.gates.metrics import Kind, Metric, UnknownMetricError, find

_GATE = re.compile(
    r"\s*(?P<metric>[^\s<>=!]+)\s*(?P<op><=|>=|==|!=|<|>)?\s*(?P<value>[^\s]+)?\s*(?:over\s+(?P<over>\S+))?\s*(?P<rest>.*)"
)
_NUMBER = re.compile(r"(?P<number>\d+(?:_\d+)*(?:\.\d+)?)(?P<unit>[a-zµμ%/]*)")
_DURATIONS: Final = {"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9}
OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
#: Prefix of the metrics that are known during a run. Only gates on these metrics may have `abort_early`.
ENDS_EARLY: Final = "delivery.latency"


class GateError(ValueError):
    """A gate cannot be parsed; the message continues a sentence that begins with the gate's place in the scenario."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A parsed gate. `threshold` is in ns, a fraction, a count, or per second, depending on the metric's kind."""

    text: str
    metric: Metric
    op: str
    threshold: float
    over_ns: int | None = None
    abort_early: bool = False

    def holds(self, value: float) -> bool:
        """Return True if a value meets the condition."""
        return OPERATORS[self.op](value, self.threshold)

    def with_options(self, over_ns: int | None, abort_early: bool) -> "Gate":
        """Return a copy of the gate with the keys `over` and `abort_early` of a gate written as a mapping.

        Raises:
            GateError: the gate already has a window, the window is below 1 s, or the metric does not allow an option.
        """
        if over_ns is not None and self.over_ns is not None:
            raise GateError("says 'over' twice; keep one")
        gate = replace(self, over_ns=self.over_ns or over_ns, abort_early=abort_early)
        _check_window(gate)
        if abort_early and not self.metric.name.startswith(ENDS_EARLY):
            raise GateError(
                f"has abort_early, which goes with {ENDS_EARLY} only: other metrics are known at the end only"
            )
        return gate


def parse(text: str) -> Gate:
    """Parse a gate.

    Raises:
        GateError: the text is not a gate, or the metric is unknown or does not allow this operator, value or window.
    """
    found = _GATE.fullmatch(text)
    if found is None or not found["metric"]:
        raise GateError(f"{text!a} is not a gate: write one such as delivery.latency.p99 < 150ms")
    try:
        metric = find(found["metric"])
    except UnknownMetricError as error:
        raise GateError(str(error)) from None
    if found["op"] is None or found["value"] is None:
        raise GateError(
            f"{text.strip()!a} compares with nothing: write {metric.name} < {_example(metric.kind)}"
        )
    if found["rest"]:
        raise GateError(
            f"{text.strip()!a} goes on with {found['rest']!a}: only 'over 5s' may follow the value"
        )
    if metric.kind in (Kind.DURATION, Kind.RATE) and found["op"] in ("==", "!="):
        raise GateError(
            f"{metric.name} {found['op']} …: a measured value is never exactly that; write < or >"
        )
    threshold = _value(found["value"], metric)
    over_ns = None
    if found["over"] is not None:
        over_ns = duration_ns(found["over"], "the window")
    gate = Gate(text.strip(), metric, found["op"], threshold, over_ns)
    _check_window(gate)
    return gate


def _check_window(gate: Gate) -> None:
    if gate.over_ns is None:
        return
    if not gate.metric.windowed:
        raise GateError(f"{gate.metric.name} is known for the whole run only: leave 'over' out")
    if gate.over_ns < 1_000_000_000:
        raise GateError("has a window shorter than 1s; make it longer")


def _value(text: str, metric: Metric) -> float:
    if metric.kind is Kind.DURATION:
        return _duration(text, metric.name)
    found = _NUMBER.fullmatch(text)
    unit = found["unit"] if found else None
    number = float(found["number"].replace("_", "")) if found else 0.0
    if metric.kind is Kind.SHARE and (unit == "%" or (unit == "" and number == 0)):
        if number > 100:
            raise GateError(f"{metric.name} is compared with {text!a}: a share is at most 100%")
        return number / 100
    if metric.kind is Kind.COUNT and unit == "" and number == int(number):
        return number
    if metric.kind is Kind.RATE and unit == "/s":
        return number
    raise GateError(f"{metric.name} is compared with {text!a}: write {metric.kind.value}")


def duration_ns(text: str, what: str) -> int:
    """Return a duration in whole nanoseconds. `what` is the duration's name in the error message.

    Raises:
        GateError: the text is not a duration.
    """
    return round(_duration(text, what))


def _duration(text: str, what: str) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None or found["unit"] not in _DURATIONS:
        raise GateError(f"{what} is compared with {text!a}: write {Kind.DURATION.value}")
    return float(found["number"].replace("_", "")) * _DURATIONS[found["unit"]]


def _example(kind: Kind) -> str:
    return {Kind.DURATION: "150ms", Kind.SHARE: "0.1%", Kind.COUNT: "1", Kind.RATE: "100/s"}[kind]
