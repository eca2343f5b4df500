"""Publish requests per CPU-second, five events each: ours over HTTP and WebSocket with recording, and httpx.

Each publishes as fast as it can. Ours follows an open-loop schedule slightly above its maximum rate, which a short
first run finds. httpx sends one request after another, without a schedule, a timer or a record.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speed.section import Bar, Options, Section

HERE = Path(__file__).resolve().parent
ROUNDS = 2
FIND_S = 1.0
FIND_PER_S = 20_000
ABOVE = 1.1
HTTP, WEBSOCKET = "ours, HTTP", "ours, WebSocket"
HTTPX_EACH, HTTPX_SHARED = "httpx, one client a user", "httpx, one client for all"


@dataclass(frozen=True)
class Publisher:
    """A way to publish; ``scheduled`` is True if its script takes a rate."""

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


def run(options: Options) -> Section:
    """Measure all publishers in turn; return the table and the bars."""
    section = Section(
        "Publishing, five events of 200 bytes a request, 20 clients",
        ("publisher", "requests per CPU-s", "spread", "µs CPU", "at", "answered 'accepted'"),
    )
    results: dict[str, list[dict[str, Any]]] = {publisher.name: [] for publisher in PUBLISHERS}
    rates: dict[str, float] = {}
    for _ in range(ROUNDS):
        for publisher in PUBLISHERS:
            try:
                if publisher.scheduled and publisher.name not in rates:
                    found = measured(publisher, FIND_PER_S, FIND_S, options.scratch)
                    rates[publisher.name] = ABOVE * found["requests"] / found["seconds"]
                rate = rates.get(publisher.name, 0.0)
                results[publisher.name].append(measured(publisher, rate, options.seconds, options.scratch))
            except RuntimeError as error:
                section.failures.append(str(error))
    means: dict[str, float] = {}
    for name, several in results.items():
        if not several:
            continue
        each = [one["requests"] / one["cpu_s"] for one in several]
        means[name] = statistics.mean(each)
        events, accepted = (sum(one[key] for one in several) for key in ("events", "accepted"))
        section.rows.append(
            (
                name,
                f"{means[name]:,.0f}",
                f"±{(max(each) - min(each)) / 2 / means[name]:.0%}",
                f"{1e6 / means[name]:,.0f}",
                f"{statistics.mean(one['requests'] / one['seconds'] for one in several):,.0f}/s",
                f"{accepted:,} of {events:,}",
            )
        )
        if accepted != events:
            section.failures.append(f"{name}: {accepted:,} of {events:,} events were answered 'accepted'")
    peers = [means[name] for name in (HTTPX_EACH, HTTPX_SHARED) if name in means]
    ours, websocket = means.get(HTTP), means.get(WEBSOCKET)
    section.bars = [
        Bar("publish: HTTP ÷ httpx", ours / max(peers) if ours and peers else None, 7),
        Bar("publish: WebSocket batch of 5 ÷ our HTTP", websocket / ours if ours and websocket else None, 3),
    ]
    return section


def measured(publisher: Publisher, rate: float, seconds: float, scratch: Path) -> dict[str, Any]:
    """Run one publisher against a new server; return the publisher's result.

    Raises:
        RuntimeError: the publisher failed.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    server = subprocess.Popen(
        [sys.executable, str(HERE / "publish_server.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        arguments: Sequence[str] = (
            (port, publisher.word, f"{rate:.0f}", f"{seconds:g}", str(folder))
            if publisher.scheduled
            else (port, publisher.word, f"{seconds:g}")
        )
        done = subprocess.run(
            [sys.executable, str(HERE / publisher.script), *arguments],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds + 60,
        )  # fmt: skip
        if done.returncode != 0 or not done.stdout:
            raise RuntimeError(f"{publisher.name}: ended with {done.returncode}: {done.stderr[-500:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{publisher.name}: did not end") from None
    finally:
        server.kill()
        server.wait()
