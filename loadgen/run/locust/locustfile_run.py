"""Derive a run from a locustfile that has no scenario: the number of users of each class, and the run's phases."""

import inspect
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

from locust import LoadTestShape, User

from loadgen.config.problems import Places
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.measure.failures import message_of, place_of
from loadgen.resolve import ResolvedRun
from loadgen.resolve.resolver import run_of_document
from loadgen.run.locust.shape import ScenarioShape
from loadgen.users.journeys.user import EventsUser

#: Maximum duration of a load shape; a longer one is cut.
_LONGEST_S: Final = 24 * 3600
_WARMUP_S: Final = 5.0
_MEASURE_S: Final = 20.0
_RAMP_PER_S: Final = 250.0

_KINDS: Final = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

#: Result of a load shape's `tick` at one second: users, users per second, and the users' classes or None for all.
_Tick = tuple[int, float, Sequence[type[User]] | None]


def stands_alone(classes: Sequence[type[User]], scenario: str | None, default: str) -> bool:
    """Return True if a locustfile's user classes can run without a scenario and the user has named none."""
    ours = [each for each in classes if issubclass(each, EventsUser)]
    return (
        bool(ours) and scenario in (None, default) and not any(hasattr(each, "payload") for each in classes)
    )


def run_of_classes(
    classes: Sequence[type[User]], options: Any, shape: LoadTestShape | None
) -> tuple[ResolvedRun, Tables]:
    """Return the run of the user classes with Locust's options, and the rows of the run's data.

    ``options`` has Locust's options (`num_users`, `spawn_rate`, `run_time`) and the harness's (`overrides`, `target`).
    If there is a load shape, it decides the number of users at each time.

    Raises:
        ScenarioError: an override is invalid for this run.
        RunError: a tick of the load shape fails or is invalid.
    """
    ours = [each for each in classes if issubclass(each, EventsUser)]
    path = Path(inspect.getfile(ours[0]))
    ramp = float(getattr(options, "spawn_rate", None) or _RAMP_PER_S)
    if shape is not None and not isinstance(shape, ScenarioShape):
        ticks = list(_ticks(shape, ours))
        length_s = float(len(ticks))
        groups = _by_shape(ours, ticks)
        warmup_s = max(_WARMUP_S, _whole(ticks[0][0] / ticks[0][1]))
    else:
        users = int(getattr(options, "num_users", None) or max(1, sum(each.fixed_count for each in ours)))
        counts = _distributed(ours, users)
        groups = {each: {"count": counts[each], "ramp": f"{ramp:g}/s"} for each in ours if counts[each]}
        length_s = float(getattr(options, "run_time", None) or _MEASURE_S)
        warmup_s = max(_WARMUP_S, _whole(users / ramp))
    document = {
        "version": 1,
        "name": _name(path),
        "clients": {
            _key(each): {
                "users": f"{path.name}:{each.__name__}",
                **({"namespaces": list(names)} if (names := _namespaces(each)) else {}),
                **settings,
            }
            for each, settings in groups.items()
        },
        **({"data": data} if (data := dict(map(_data, getattr(options, "data", None) or ()))) else {}),
        "phases": {"warmup": f"{warmup_s:g}s", "measure": f"{length_s:g}s"},
    }
    return run_of_document(document, Places(path.name), path.parent, options.overrides or (), options.target)


def _ticks(shape: LoadTestShape, ours: Sequence[type[User]]) -> Iterator[_Tick]:
    """Yield the ticks of a load shape, one per second of simulated time, before the run begins."""
    users = 0
    at_s = 0
    # In Locust these methods return the time and the number of users of the running test. No test runs yet, so replace
    # the methods by ones that return simulated values.
    vars(shape)["get_run_time"] = lambda: float(at_s)
    vars(shape)["get_current_user_count"] = lambda: users
    while at_s < _LONGEST_S:
        try:
            wanted = shape.tick()
            if wanted is None:
                break
            users, per_s = int(wanted[0]), float(wanted[1])
            classes = wanted[2] if len(wanted) > 2 else None
            if users < 0 or not per_s > 0:
                raise ValueError(f"tick() returned {users} users at {per_s}/s")
        except Exception as error:
            raise RunError(
                f"the load shape {type(shape).__name__} cannot be followed: tick() at {at_s} s failed at"
                f" {place_of(error)}: {message_of(error)}",
                ExitCode.USAGE,
            ) from None
        yield users, per_s, [each for each in ours if each in classes] if classes else None
        at_s += 1
    if at_s == 0:
        raise RunError(
            f"the load shape {type(shape).__name__} ends at once: its tick() returned None at 0 s",
            ExitCode.USAGE,
        )


def _by_shape(ours: Sequence[type[User]], ticks: Sequence[_Tick]) -> dict[type[User], dict[str, Any]]:
    stages: dict[type[User], list[dict[str, Any]]] = {each: [] for each in ours}
    before: _Tick | None = None
    for second, tick in enumerate(ticks):
        if tick == before:
            continue
        users, per_s, chosen = before = tick
        counts = _distributed(chosen or ours, users)
        for each in ours:
            count = counts.get(each, 0)
            own = stages[each]
            if own and own[-1]["users"] == count:
                continue
            rate = per_s * max(counts.get(each, 0), 1) / max(users, 1)
            own.append({"at": f"{second}s", "users": count, "spawn": f"{max(rate, 0.001):.6g}/s"})
    return {
        each: {"count": most, "stages": own}
        for each, own in stages.items()
        if (most := max(stage["users"] for stage in own))
    }


def _distributed(classes: Sequence[type[User]], users: int) -> dict[type[User], int]:
    """Return how many users each class has: its `fixed_count`, or a share of the other users by weight."""
    counts = dict.fromkeys(classes, 0)
    left = users
    for each in classes:
        counts[each] = min(each.fixed_count, left)
        left -= counts[each]
    free = [each for each in classes if not each.fixed_count and each.weight > 0]
    total = sum(each.weight for each in free)
    if not free:
        return counts
    shares = {each: left * each.weight / total for each in free}
    for each in free:
        counts[each] = int(shares[each])
    rest = left - sum(counts[each] for each in free)
    for each in sorted(free, key=lambda of: int(shares[of]) - shares[of])[:rest]:
        counts[each] += 1
    return counts


def _namespaces(each: type[User]) -> tuple[str, ...]:
    given = getattr(each, "namespaces", ())
    return (given,) if isinstance(given, str) else tuple(given)


def _name(path: Path) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in path.stem).strip("-_")
    return name[:60] or "users"


def _key(each: type[User]) -> str:
    return each.__name__.lstrip("_")[:50] or "users"


def _data(item: str) -> tuple[str, dict[str, str]]:
    """Parse an option `--data NAME=FILE`: return NAME and its entry in a scenario's `data`; raises RunError."""
    name, sign, file = item.partition("=")
    kind = _KINDS.get(Path(file).suffix.lower())
    if not sign or kind is None:
        raise RunError(
            f"--data {item!a}: write NAME=FILE, where the file is a .csv, .jsonl or .parquet", ExitCode.USAGE
        )
    return name, {kind: file}


def _whole(seconds: float) -> float:
    return float(ceil(seconds))
