"""Synthetic runs that together have every key that the analysis writes, and its output (`golden/*.json`).

Tests compare the output, so they notice when a key, a figure or a word changes. `python -m
tests.analysis.renew` writes the files anew and adds a revision for the change to
`analysis/record/revisions.json`.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import analysis
from analysis.record.revisions import SUMMARY, shape
from analysis.report.outputs import junit, markdown
from analysis.report.page import render
from analysis.verify import compared
from tests.analysis.figures.test_addresses import three_addresses
from tests.analysis.figures.test_bounds import run_of
from tests.analysis.figures.test_echo import LANE, SAME, two_hosts
from tests.analysis.figures.test_outages import write_golden
from tests.analysis.figures.test_reactions import by_hand
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    ZERO,
    Row,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)
from tests.analysis.verdict.test_causes import LONG, paused, seconds
from tests.analysis.verdict.test_clockbound import run_with_pings
from tests.analysis.verdict.test_judgement import judged
from tests.analysis.verdict.test_surroundings import throttled
from tests.paths import REPO

FOLDER = Path(__file__).parent / "golden"
#: Relative difference up to which floats count as equal: the last digits of fits differ between processors.
TOLERANCE = 1e-9
#: Keys that none of these runs has, as ``file:path``. Prefer a new run to an entry here.
OTHERS: frozenset[str] = frozenset()


def _health(seconds: int = 3, **more: Any) -> list[Row]:
    return [
        {
            "time_ns": T0 + second * SECOND,
            "interval_ns": SECOND,
            "cpu_ns": SECOND // 4,
            "lag_max_ns": MS,
            "late_max_ns": 2_000,
            "queue_max_ns": 20_000,
            "deliveries": 10,
            "published": 5,
            "gc_ns": 1_000,
            "rss_bytes": 10**8,
            "open_files": 9,
            "open_files_limit": 1024,
            "ports": 3,
            "ports_limit": 28_000,
            "clock_moved_ns": 0,
            **more,
        }
        for second in range(1, seconds + 1)
    ]


def plain(folder: Path) -> Path:
    """A run in which all events arrived."""
    return simple_run(folder, scenario={"version": 1, "name": "plain"})


def tasks(folder: Path) -> Path:
    """A run of three groups of clients with tasks: in a closed loop, in an open loop, and in a loop of unknown kind."""
    groups = [
        {"group": "a", "users": "u.py:A", "loop": "closed", "pacing": None},
        {"group": "b", "users": "u.py:B", "loop": "open", "pacing": "constant_pacing(1)"},
        {"group": "c", "users": "u.py:C", "loop": None, "pacing": None},
    ]
    return simple_run(folder, scenario={"version": 1, "name": "tasks"}, journeys=groups)


def nothing(folder: Path) -> Path:
    """A run that ended before its measure phase."""
    return write_run(
        folder,
        {"health": _health(1)},
        phases=[{"name": "ramp", "start_ns": T0, "end_ns": None}],
        status="failed",
        exit_code=3,
        reason="the target went away.",
    )


def silent(folder: Path) -> Path:
    """A run in which no event arrived."""
    return write_run(
        folder,
        {
            "events": [event(1, n, "/a", n * 100 * MS) for n in range(5)],
            "subscriptions": [subscription(1, "/a", -MS)],
            "connections": [connection(1)],
            "health": _health(2),
        },
        scenario={"version": 1, "name": "silent"},
    )


def staircase(folder: Path) -> Path:
    """A run with load steps, gates of every outcome, a bill, CloudWatch, faults, and losses."""
    events = [event(7, n, "/a", n * SECOND // 20, bytes=100 + n) for n in range(20)]
    events += [event(7, 20 + n, "/a", SECOND + n * SECOND // 40) for n in range(40)]
    events.append(event(8, 0, "/a", SECOND + 5 * MS, "rejected", error="Unauthorized"))
    arrived = [(e, reader) for e in events[:60] for reader in (1, 2) if (e["sequence"], reader) != (3, 2)]
    counts = dict.fromkeys(("publish", "delivery", "connect", "subscribe", "handler", "keepalive"), "always")
    write_run(
        folder,
        {
            "events": events,
            "deliveries": [delivery(e, reader, reader * MS + e["sequence"] * 1_000) for e, reader in arrived],
            "subscriptions": [subscription(number, "/a", -MS) for number in (1, 2)],
            "connections": [connection(number, opened_ns=T0 + 1) for number in (1, 2)],
            "health": _health(4),
        },
        scenario={
            "version": 1,
            "name": "staircase",
            "gates": [
                "delivery.latency.p50 < 250ms",
                "delivery.latency.p50 < 1us",
                "delivery.latency.p99 < 2ms",
                {"check": "delivery.loss < 1%", "over": "1s"},
            ],
        },
        phases=[
            {"name": "ramp", "start_ns": T0, "end_ns": ZERO},
            {"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 2 * SECOND},
        ],
        offered=[
            {
                "group": "writers",
                "events_per_s": 40.0,
                "points": [[0, 0.5], [SECOND, 0.5], [SECOND, 1.0]],
            }
        ],
        prices={
            "service": "AWS AppSync Events",
            "region": "eu-central-1",
            "as_of": "2026-01-01",
            "certainty": "published",
            "usd_per_million_operations": 1.0,
            "usd_per_million_connection_minutes": 0.08,
            "usd_per_gb_out": 0.09,
            "message_unit_bytes": 5_120,
            "keepalive_interval_s": 60.0,
            "counts": counts,
        },
        target={
            "http_url": "http://x/event",
            "ws_url": "ws://x/",
            "embedded": True,
            "auth": "none",
            "setup": {"publish": "over HTTP"},
            "faults": {"drop": 0.01},
        },
        workers=[
            {
                "worker": 0,
                "id": "local",
                "hostname": "h",
                "pid": 1,
                "finished": True,
                "deviations": {"an answer without an id": 2},
                "foreign": 1,
            }
        ],
        late_workers=[
            {
                "worker": 1,
                "id": "late",
                "hostname": "h",
                "address": None,
                "pid": 2,
                "at_ns": ZERO + 1,
                "phase": "measure",
            }
        ],
    )
    minute_ns = T0 // (60 * SECOND) * 60 * SECOND
    series = [
        {"metric": metric, "statistic": statistic, "namespace": None, "times_ns": [minute_ns], "values": [60]}
        for metric, statistic in (("PublishSuccess", "Sum"), ("Latency", "p50"), ("Latency", "SampleCount"))
    ]
    beside = {
        "format": 1,
        "api_id": "abc",
        "region": "eu-central-1",
        "start_ns": minute_ns,
        "end_ns": minute_ns + 60 * SECOND,
        "period_ns": 60 * SECOND,
        "fetched_ns": minute_ns + 120 * SECOND,
        "incomplete": [],
        "series": series,
    }
    (folder / "cloudwatch.json").write_text(json.dumps(beside), encoding="utf-8")
    return folder


def clocks(folder: Path) -> Path:
    """A run of two workers whose clocks differ. Worker 1 is killed early, and its clock steps."""
    draw = random.Random(7)
    offsets_ns = {0: 40 * MS, 1: -25 * MS}
    rows: dict[str, list[Row]] = {name: [] for name in ("events", "deliveries", "subscriptions")}
    pings: list[Row] = []
    health: list[Row] = []
    for worker, offset_ns in offsets_ns.items():
        rows["subscriptions"].append(
            subscription(
                worker,
                "/a",
                -MS - offset_ns,
                worker=worker,
                requested_ns=T0 - offset_ns,
                acknowledged_ns=T0 + 1 - offset_ns,
            )
        )
        health += _health(2, worker=worker, clock_moved_ns=5 * MS if worker else 0)[: 2 - worker]
        for number in range(40):
            left_ns = T0 + number * 50 * MS
            there_ns = left_ns + 100_000 + draw.randrange(200_000)
            back_ns = there_ns + 120_000 + draw.randrange(200_000)
            pings.append(
                {
                    "worker": worker,
                    "sent_ns": left_ns - offset_ns,
                    "master_received_ns": there_ns,
                    "master_sent_ns": there_ns + 20_000,
                    "received_ns": back_ns - offset_ns,
                }
            )
    for number in range(30):
        due = event(5, number, "/a", number * 20 * MS)
        local = {name: due[name] - offsets_ns[0] for name in ("slot_ns", "sent_ns", "acked_ns")}
        rows["events"].append({**due, **local, "worker": 0})
        for worker, offset_ns in offsets_ns.items():
            came = delivery(due, worker, 2 * MS, worker=worker)
            if worker == 0 or number < 10:
                rows["deliveries"].append(
                    {
                        **came,
                        "sent_ns": local["sent_ns"],
                        "arrival_ns": came["arrival_ns"] - offset_ns,
                        "read_ns": came["read_ns"] - offset_ns,
                    }
                )
    return write_run(
        folder,
        {
            **rows,
            "connections": [
                connection(n, worker=n, started_ns=T0 - offset, acknowledged_ns=T0 + 1 - offset)
                for n, offset in offsets_ns.items()
            ],
            "health": health,
            "clock": pings,
        },
        scenario={"version": 1, "name": "clocks"},
        workers=[
            {
                "worker": n,
                "id": f"w{n}",
                "hostname": f"h{n}",
                "pid": n + 10,
                "boot_id": f"b{n}",
                "finished": n == 0,
                "left": None if n == 0 else "it was killed",
            }
            for n in offsets_ns
        ],
    )


def recovery(folder: Path) -> Path:
    """A run with an outage, and with clients that are dropped, leave, read slowly or lose connections."""
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(100)]
    lives, connections, arrivals = [], [], []
    for number in range(4):
        again_ns = 420 * MS + number * 40 * MS
        lives += [
            subscription(number, "/default/a", 0, 300 * MS + number * MS, intent="drop 1"),
            subscription(
                number, "/default/a", again_ns, None, life=1, acknowledged_ns=ZERO + again_ns - 5 * MS
            ),
        ]
        connections += [
            connection(number, 0, intent="drop 1", closed_ns=ZERO + 300 * MS + number * MS),
            connection(number, 1, started_ns=ZERO + 320 * MS, acknowledged_ns=None, error="refused"),
            connection(number, 2, started_ns=ZERO + 400 * MS, acknowledged_ns=ZERO + again_ns - 6 * MS),
        ]
        for e in events:
            since_ns = e["sent_ns"] - ZERO
            if since_ns < 290 * MS or (since_ns > again_ns and e["sequence"] % 30):
                arrivals.append(delivery(e, number, 2 * MS))
    connections[0] = {**connections[0], "error": "reset by peer", "intent": None}
    lives.append(subscription(9, "/default/a", 0, 600 * MS, intent="leave"))
    connections.append(
        connection(9, intent="leave", closed_ns=ZERO + 250 * MS, slow=True, kernel_timestamps=False)
    )
    return write_run(
        folder,
        {
            "events": events,
            "deliveries": arrivals,
            "subscriptions": lives,
            "connections": connections,
            "health": _health(2),
        },
        scenario={"version": 1, "name": "recovery"},
        status="interrupted",
        exit_code=130,
        reason="interrupted",
        late_after_ns=SECOND,
    )


def echoes(folder: Path) -> Path:
    """A run on two hosts that measured echoes; the service refused one of the echo lanes at times."""
    two_hosts(folder, ways_ns=SAME, echo_ns=(3 * MS, 5 * MS))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["workers"][0]["echo"] = {
        **LANE,
        "errors": {"HTTP 500": 2},
        "note": "the service refused: HTTP 500",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def vouched(folder: Path) -> Path:
    """A run in which ClockBound reports error bounds for the clocks of a worker and of the master."""
    return run_with_pings(folder, 20_000, 30_000)


def users(folder: Path) -> Path:
    """A run with checks by user code, failures of user code and of the harness, and unreadable messages."""
    worker = {
        "worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": True, "undecodable": 3,
        "checks": {"schema": {"passed": 9, "failed": 1}},
        "undecodable_kinds": [{"kind": "text frame that is not UTF-8", "count": 3, "example": "\\xff"}],
        "failures": [
            {"kind": kind, "where": f"{where} at users.py:12", "message": "ValueError: no", "count": 2, "first_ns": T0}
            for kind, where in (("user code", "payload()"), ("harness", "a client"))
        ],
    }  # fmt: skip
    return simple_run(folder, workers=[worker])


def stopped(folder: Path) -> Path:
    """A run whose process was suspended for 1.5 s."""
    rows = seconds(paused(4.5, 1500 * MS, lag_max_ns=1520 * MS, interval_ns=2500 * MS))
    judged(folder, rows=rows, phases=LONG)
    return folder


def held_back(folder: Path) -> Path:
    """A run in a container that used up its CPU quota, on a machine short of CPU and network."""
    around = {"steal_ns": 150 * MS, "oom_kills": 1, "memory_limit_bytes": 10**9, "pps_exceeded": 12}
    rows = [
        throttled(n + 0.5, 90 * MS, 3, lag_max_ns=260 * MS, **(around if n == 4 else {})) for n in range(11)
    ]
    judged(folder, rows=rows, phases=LONG)
    return folder


def uncertain(folder: Path) -> Path:
    """A run with uncertain arrivals: every fifth message may have arrived up to 3 ms before its kernel time stamp."""
    run_of(folder, ["delivery.latency.p99 < 12ms"], lambda number: 3 * MS if number % 5 == 0 else 0)
    return folder


def outage(folder: Path) -> Path:
    """A run whose connections fell silent, on a target that throttled."""
    return write_golden(folder)


def reactions(folder: Path) -> Path:
    """A run with replies; one request and one reply were lost, and replies arrived out of order."""
    scenario = {
        "version": 1,
        "name": "reactions",
        "gates": ["reaction.first.max < 33ms", "reaction.lost == 0"],
    }
    return write_run(folder, {**by_hand(), "health": _health()}, format=3, scenario=scenario)


RUNS: dict[str, Callable[[Path], Path]] = {
    each.__name__: each
    for each in (
        plain,
        nothing,
        silent,
        staircase,
        clocks,
        recovery,
        echoes,
        vouched,
        users,
        stopped,
        held_back,
        uncertain,
        three_addresses,
        outage,
        reactions,
        tasks,
    )
}


@dataclass(frozen=True)
class Written:
    """The analysis's output for a run, as a golden file stores it."""

    summary: dict[str, Any]
    texts: dict[str, str]

    def to_json(self) -> str:
        """Return the content of the golden file."""
        return json.dumps({"summary": self.summary, "texts": self.texts}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, name: str) -> "Written":
        """Read the golden file of the run ``name``."""
        return cls(**json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def written(folder: Path) -> Written:
    """Return this version's output for a run, without `made_by`, which changes with each revision."""
    run = analysis.load(folder)
    summary = json.loads(json.dumps(analysis.summarise(run)))
    texts = {
        "junit.xml": junit(summary),
        "summary.md": markdown(summary),
        "report.html": "\n".join(
            line
            for line in map(str.strip, compared.page(render(run, summary, drawn=False)).splitlines())
            if line
        ),
    }
    del summary["made_by"]
    return Written(summary, texts)


def all_written(folder: Path) -> dict[str, Written]:
    """Make each synthetic run in ``folder``; return this version's output for these runs and the sample."""
    found = {name: written(make(folder / name)) for name, make in RUNS.items()}
    return {**found, "sample": written(REPO / "results" / "sample")}


def keys_of(runs: dict[str, Written]) -> set[str]:
    """Return all keys of these runs' summaries."""
    made_by = {f"{SUMMARY}:made_by", f"{SUMMARY}:made_by.version", f"{SUMMARY}:made_by.revision"}
    return made_by.union(*(shape(SUMMARY, each.summary) for each in runs.values()))
