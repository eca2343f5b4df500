"""Publish requests per CPU-second, five events each: ours over HTTP and WebSocket with recording, httpx, k6 and wrk.

Each publishes as fast as it can, except k6, which keeps a rate. Our publisher follows an open-loop schedule slightly
above its maximum rate, which a short first run finds. httpx sends one request after another, without a schedule, a
timer or a record. One more row for each of our publishers shows how late it sends at a rate that it can keep.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speed import publish_peers
from speed import section as sections
from speed.peers import program
from speed.section import Bar, Figure, Options, Section
from speed.serving import serving

HERE = Path(__file__).resolve().parent
SERVER = HERE / "publish_server.py"
FIND_S = 1.0
FIND_PER_S = 80_000
ABOVE = 1.1
#: Requests a second in the runs that measure how late requests are sent.
STEADY_PER_S = 5_000
PADDING, REAL = "padding", "real"
PAYLOADS = {PADDING: "own padding", REAL: "real payload"}
#: The column of the final table for the figures of each kind of payload.
COLUMNS = {PADDING: sections.OWN, REAL: sections.REAL}
HTTP, WEBSOCKET = "ours, HTTP", "ours, WebSocket"
HTTPX_EACH, HTTPX_SHARED = "httpx, one client a user", "httpx, one client for all"
K6, WRK = "k6, constant arrival rate", "wrk, ready bodies"
Result = dict[str, Any]


@dataclass(frozen=True)
class Publisher:
    """A way to publish: the script that publishes, and ``word``, the argument that selects the way in it.

    ``scheduled`` is True if the script takes a rate as well.
    """

    name: str
    script: str
    word: str
    scheduled: bool


PUBLISHERS = (
    Publisher(HTTP, "publish_ours.py", "http", True),
    Publisher(WEBSOCKET, "publish_ours.py", "websocket", True),
    Publisher(HTTPX_EACH, "publish_httpx.py", "each", False),
    Publisher(HTTPX_SHARED, "publish_httpx.py", "shared", False),
)
#: The other tools: by the name in the table, the program to look for and the function that measures it.
PEERS: dict[str, tuple[str, Callable[[int, str, float, Path], Result]]] = {
    K6: ("k6", publish_peers.k6),
    WRK: ("wrk", publish_peers.wrk),
}


def run(options: Options) -> Section:
    """Measure all publishers in turn; return the table and the bars."""
    section = Section(
        "Publishing, five events of about 200 bytes a request, 20 clients",
        (
            "publisher",
            "payload",
            "requests per CPU-s",
            "spread",
            "µs CPU",
            "at",
            "late p50",
            "p99",
            "'accepted'",
        ),
        note=f"Lateness at {STEADY_PER_S:,} requests/s: from the slot until an open connection takes the request.",
    )
    section.missing = [name for name, (tool, _) in PEERS.items() if program(tool) is None]
    results: dict[tuple[str, str], list[Result]] = {}
    rates: dict[tuple[str, str], float] = {}

    def measured(name: str, kind: str, one: Callable[[], Result]) -> None:
        try:
            result = one()
        except RuntimeError as error:
            section.failures.append(str(error))
        else:
            results.setdefault((name, kind), []).append(result)

    try:
        for kind in PAYLOADS:
            for _ in range(options.rounds):
                for publisher in PUBLISHERS:
                    measured(publisher.name, kind, lambda: _measure(publisher, kind, rates, options))  # noqa: B023
                for name, (tool, ran) in PEERS.items():
                    if program(tool) is not None:
                        measured(name, kind, lambda: _peer(ran, kind, options))  # noqa: B023
    except KeyboardInterrupt:
        section.interrupted = True
    means = {key: _add_row(section, *key, several) for key, several in results.items()}
    for publisher in PUBLISHERS:
        if publisher.scheduled and not section.interrupted:
            try:
                steady = run_publisher(publisher, REAL, STEADY_PER_S, options.seconds, options.scratch)
                _add_row(section, publisher.name, REAL, [steady], steady=True)
            except RuntimeError as error:
                section.failures.append(str(error))
    peers = [means[name, REAL] for name in (HTTPX_EACH, HTTPX_SHARED) if (name, REAL) in means]
    ours, websocket = means.get((HTTP, REAL)), means.get((WEBSOCKET, REAL))
    section.bars = [
        Bar("publish: HTTP ÷ httpx, real payload", ours / max(peers) if ours and peers else None, 11),
        Bar(
            "publish: WebSocket batch of 5 ÷ our HTTP, real payload",
            websocket / ours if ours and websocket else None,
            2.5,
        ),
    ]
    return section


def _add_row(
    section: Section, name: str, kind: str, several: Sequence[Result], *, steady: bool = False
) -> float:
    """Add a row with a publisher's results of all rounds; return its mean number of requests per CPU-second."""
    each: list[float] = [one["requests"] / one["cpu_s"] for one in several]
    mean = statistics.mean(each)
    events, accepted = (sum(one[key] for one in several) for key in ("events", "accepted"))
    late = [f"{one:,.0f} µs" if one is not None else "–" for one in _lateness(several)]
    section.rows.append(
        (
            name,
            PAYLOADS[kind],
            f"{mean:,.0f}",
            f"±{(max(each) - min(each)) / 2 / mean:.0%}",
            f"{1e6 / mean:,.0f}",
            f"{statistics.mean(one['requests'] / one['seconds'] for one in several):,.0f}/s",
            *late,
            f"{accepted:,} of {events:,}",
        )
    )
    section.figures.append(
        Figure(
            what=f"publish, at {STEADY_PER_S:,}/s" if steady else "publish, five events a request",
            tool=name,
            payload=COLUMNS[kind],
            value=mean,
            unit="requests per CPU-s",
            role="ours" if name == HTTP else "",
            each=tuple(each),
            details={key: several[0].get(key) for key in ("late_p50_us", "late_p99_us")},
        )
    )
    if accepted != events:
        section.failures.append(f"{name}: {accepted:,} of {events:,} events were answered 'accepted'")
    return mean


def _lateness(several: Sequence[Result]) -> tuple[float | None, float | None]:
    """Return (median, p99) in µs of how late a steady run sent, or (None, None) for runs above the maximum rate."""
    (one, *others) = several
    if others or "late_p99_us" not in one:
        return None, None
    return one["late_p50_us"], one["late_p99_us"]


def _measure(
    publisher: Publisher, kind: str, rates: dict[tuple[str, str], float], options: Options
) -> Result:
    key = publisher.name, kind
    if publisher.scheduled and key not in rates:
        found = run_publisher(publisher, kind, FIND_PER_S, FIND_S, options.scratch)
        rates[key] = ABOVE * found["requests"] / found["seconds"]
    return run_publisher(publisher, kind, rates.get(key, 0.0), options.seconds, options.scratch)


def _peer(ran: Callable[[int, str, float, Path], Result], kind: str, options: Options) -> Result:
    with serving(SERVER) as port:
        return ran(port, kind, options.seconds, Path(tempfile.mkdtemp(dir=options.scratch)))


def run_publisher(publisher: Publisher, kind: str, rate: float, seconds: float, scratch: Path) -> Result:
    """Run one publisher against a new server; return the publisher's result.

    Raises:
        RuntimeError: the publisher failed.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    with serving(SERVER) as port:
        arguments: Sequence[str] = (
            (str(port), publisher.word, f"{rate:.0f}", f"{seconds:g}", str(folder), kind)
            if publisher.scheduled
            else (str(port), publisher.word, f"{seconds:g}", kind)
        )
        try:
            done = subprocess.run(
                [sys.executable, str(HERE / publisher.script), *arguments],
                env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds + 60,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{publisher.name}: did not end") from None
        if done.returncode != 0 or not done.stdout:
            raise RuntimeError(f"{publisher.name}: ended with {done.returncode}: {done.stderr[-500:]}")
        result: Result = json.loads(done.stdout.splitlines()[-1])
        return result
