"""Mutants that no test can notice, judged by reading. They are counted apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """A change of a line that changes nothing a caller can see, and why."""

    module: str
    before: str
    after: str
    reason: str


_LEDGER, _MATCHING = "analysis/ledger.py", "analysis/matching.py"
_CURVE = "loadgen/pacing/curve.py"
_NO_CHANNEL = "any number that is no channel's stands for none: only those from 0 on are asked for"
_ACCEPTED = (
    "for channel, rows in _by_code(np.where(events.accepted, events.channel, -1), len(events.channels)):"
)
_FIRST_POSITION = "set anew at the first position, which is never below -inf"

EQUIVALENT: tuple[Equivalent, ...] = (
    Equivalent(
        _LEDGER, "reordered=len(reordered[0]),", "reordered=len(reordered[ 1]),", "both are of one length"
    ),
    Equivalent(
        _LEDGER,
        "duplicates=len(found.duplicates[0]),",
        "duplicates=len(found.duplicates[ 1]),",
        "both are of one length",
    ),
    Equivalent(
        _LEDGER,
        "edges = np.searchsorted(values[order], np.arange(count + 1))",
        "edges = np.searchsorted(values[order], np.arange(count + 2))",
        "the last edge is not looked at",
    ),
    Equivalent(_LEDGER, _ACCEPTED, _ACCEPTED.replace("-1", "- 2"), _NO_CHANNEL),
    Equivalent(_LEDGER, _ACCEPTED, _ACCEPTED.replace("-1", "~1"), _NO_CHANNEL),
    Equivalent(_CURVE, "start = 0.0", "start = 1.0", _FIRST_POSITION),
    Equivalent(_CURVE, "current = -1", "current = - 2", "only its maximum with 0 is used before it is set"),
    Equivalent(
        _CURVE,
        "current = bisect_right(self._before, position, lo=max(current, 0)) - 1",
        "current = bisect_right(self._before, position, lo=max(current, 1)) - 1",
        "a position is 0 or more and the first segment begins at 0: the search never ends before 1",
    ),
)
