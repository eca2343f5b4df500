"""Mutants that no test can notice, as judged by reading them; they are counted separately."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """A change of a line that no caller can notice, and the reason why."""

    module: str
    before: str
    after: str
    reason: str


_LEDGER, _MATCHING = "analysis/ledger/reconcile.py", "analysis/ledger/matching.py"
_ENVELOPE, _BOUNDS = "analysis/clocks/envelope.py", "analysis/clocks/bounds.py"
_CURVE = "loadgen/pacing/curve.py"
_FROZEN = "@dataclass(frozen=True, slots=True)"
_STRAYS = "doubt = reading + np.maximum(np.append(strays, 0.0), np.insert(strays, 0, 0.0))"
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
    Equivalent(
        _LEDGER,
        "self._parts = Parts(len(self._cut) > 1)",
        "self._parts = Parts(len(self._cut) != 1)",
        "there is always a stretch",
    ),
    Equivalent(
        _LEDGER,
        "@lru_cache(maxsize=1)",
        "@lru_cache(maxsize= 2)",
        "a second result that is kept takes memory only",
    ),
    Equivalent(
        _ENVELOPE, _FROZEN, _FROZEN.replace("frozen=True", "frozen=False"), "nobody assigns: mypy refuses it"
    ),
    Equivalent(
        _ENVELOPE,
        _FROZEN,
        _FROZEN.replace("slots=True", "slots=False"),
        "objects that are larger, and the same",
    ),
    Equivalent(
        _BOUNDS, _STRAYS, _STRAYS.replace("(strays, 0.0)", "(strays, -1.0)"), "no stray is below zero"
    ),
    Equivalent(_LEDGER, _ACCEPTED, _ACCEPTED.replace("-1", "- 2"), _NO_CHANNEL),
    Equivalent(_LEDGER, _ACCEPTED, _ACCEPTED.replace("-1", "~1"), _NO_CHANNEL),
    Equivalent(
        _MATCHING,
        "if len(of_each) * span < 2**62:",
        "if len(of_each) * span < 2%62:",
        "both ways sort alike; one is several times as fast",
    ),
    Equivalent(
        _MATCHING,
        "rest = np.flatnonzero(place < 0)",
        "rest = np.flatnonzero(place != 0)",
        "finds by search what the table told; it takes longer",
    ),
    Equivalent(
        _MATCHING,
        "if place.min() >= 0 and subscription.min() >= 0:",
        "if place.min() >= 0 and subscription.min() >= -1:",
        "no subscription is below 0",
    ),
    Equivalent(_MATCHING, "accepted = first & known", "accepted = first * known", "of booleans both are one"),
    Equivalent(
        _MATCHING,
        "pair = np.sort((place << 32) | subscription)",
        "pair = np.sort((place << 31) | subscription)",
        "a subscription's number has 31 bits",
    ),
    Equivalent(
        "analysis/verdict/gate_figures.py",
        "_, first = np.unique((publisher << 32) | batch, return_index=True)",
        "_, first = np.unique((publisher << 33) | batch, return_index=True)",
        "apart as before",
    ),
    Equivalent(
        "analysis/clocks/bounds.py",
        "inside = (at >= begin) & (at <= end)",
        "inside = (at >= begin) * (at <= end)",
        "of booleans both are one",
    ),
    Equivalent(
        "loadgen/measure/columns.py",
        "def __init__(self, rows: int = 65_536) -> None:",
        "def __init__(self, rows: int = 65537) -> None:",
        "how much is buffered, not what",
    ),
    Equivalent(
        "loadgen/measure/columns.py",
        "yield np.frombuffer(buffer, dtype=np.int64, count=end // 8).reshape(-1, columns)",
        "yield np.frombuffer(buffer, dtype=np.int64, count=end // 8).reshape(- 2, columns)",
        "numpy takes any negative number for the length that is left",
    ),
    Equivalent(
        "analysis/verdict/gate_figures.py",
        "known = (begin_ns >= 0) & (end_ns >= 0)",
        "known = (begin_ns >= 0) & (end_ns >= 1)",
        "no time is 0: they count from 1970",
    ),
    Equivalent(
        "analysis/verdict/gate_figures.py",
        "known = (sent_ns >= 0) & (acked_ns >= 0)",
        "known = (sent_ns >= 1) & (acked_ns >= 0)",
        "no time is 0: they count from 1970",
    ),
    Equivalent(
        "loadgen/measure/columns.py",
        '_INT64 = "l" if struct.calcsize("l") == 8 else "q"',
        '_INT64 = "l" if struct.calcsize("l") >= 8 else "q"',
        "no long has more than 8 bytes",
    ),
    Equivalent(
        "loadgen/transport/framing.py",
        "self._wanted = 0",
        "self._wanted = -1",
        "less than what came is all that is asked of it",
    ),
    Equivalent(
        "analysis/clocks/bounds.py",
        "@dataclass(frozen=True, slots=True)",
        "@dataclass(frozen=True, slots=False)",
        "memory only",
    ),
    Equivalent(
        "analysis/gates/grammar.py",
        'number = float(found["number"].replace("_", "")) if found else 0.0',
        'number = float(found["number"].replace("_", "")) if found else -1.0',
        "where nothing was found the unit is None, which no kind takes",
    ),
    Equivalent(_CURVE, "start = 0.0", "start = 1.0", _FIRST_POSITION),
    Equivalent(_CURVE, "current = -1", "current = - 2", "only its maximum with 0 is used before it is set"),
    Equivalent(
        _CURVE,
        "current = bisect_right(self._before, position, lo=max(current, 0)) - 1",
        "current = bisect_right(self._before, position, lo=max(current, 1)) - 1",
        "a position is 0 or more and the first segment begins at 0: the search never ends before 1",
    ),
)
