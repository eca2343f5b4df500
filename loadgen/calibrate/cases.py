"""The cases of a calibration, each with its faults, load and checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.calibrate import checks
from loadgen.calibrate.checks import Check

#: Default number of deliveries of the case `ledger`, which checks the counts of losses, duplicates and reorders.
DELIVERIES = 1_050_000
_LEDGER_PER_S = 20_000
_LEDGER_LOAD = (
    "clients.readers.count=400",
    "clients.publishers.publish.rate=200/s",
)


@dataclass(frozen=True)
class Case:
    """One run against one server, and the checks of its result."""

    name: str
    about: str
    faults: dict[str, Any]
    overrides: Sequence[str]
    checks: Sequence[Check]
    #: True to keep the generator's process busy with other work (`busy_locustfile`).
    busy: bool = False
    #: Exit codes of `loadgen run` after which its record is compared with the journal; 3 is one of them if the verdict
    #: may be invalid.
    exit_codes: frozenset[int] = frozenset({0})


def cases(deliveries: int = DELIVERIES, seconds: int = 10) -> list[Case]:
    """Return all cases: `ledger` makes about ``deliveries``, the others have a measure phase of ``seconds``."""
    delay = {"delay": {"lognormal": {"median": "8ms", "sigma": 0.4}}}
    ledger_s = max(2, round(deliveries / _LEDGER_PER_S))
    length = (f"phases.measure={seconds}s", "phases.warmup=1s")
    return [
        Case(
            "ledger",
            f"drops, duplicates and reorders among {deliveries:,} deliveries",
            {"seed": 3, "drop": "0.5%", "duplicate": "0.5%", "reorder": "0.5%"},
            (*_LEDGER_LOAD, f"phases.measure={ledger_s}s", "phases.warmup=1s"),
            (checks.ledger,),
        ),
        Case("delay", "a distributed delay is recovered", {"seed": 5, **delay}, length, (checks.delay,)),
        Case(
            "delay-busy",
            "the same while the generator's process computes something else",
            {"seed": 5, **delay},
            length,
            (checks.delay,),
            busy=True,
            # The busy generator publishes late, so the run's verdict may be invalid (exit code 3).
            exit_codes=frozenset({0, 3}),
        ),
        Case(
            "stall",
            "the server stands still for 500 ms, again and again",
            {"stalls": [{"after": "2s", "every": "3s", "for": "500ms"}]},
            length,
            (checks.stall,),
        ),
        Case(
            "churn",
            "connections are closed, and new subscriptions get nothing for 300 ms",
            {
                "seed": 7,
                "disconnects": [{"after": "3s", "every": "2s", "share": "10%", "code": 1001}],
                "lost_window": "300ms",
            },
            length,
            (checks.churn,),
        ),
        Case(
            "rejects",
            "events are refused within accepted batches",
            {"seed": 11, "reject": "5%"},
            (*length, "clients.publishers.publish.batch=5"),
            (checks.rejects,),
        ),
    ]
