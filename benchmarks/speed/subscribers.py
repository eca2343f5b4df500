"""Measure the cost of a subscriber with real runs: memory, without and with TLS, and connects per second.

`loadgen run` plays a broadcast to few and to many subscribers. Its record has the process's memory, the time at which
each connection was accepted, and the deliveries. The difference of the two runs is the cost of the additional
subscribers.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import trustme

from analysis.record.folders import runs_in
from loadgen.server.process import ServerProcess
from speed.section import Bar, Figure, Options, Section

REPO = Path(__file__).resolve().parents[2]
FEW, MANY, MANY_TLS = 1_000, 15_000, 5_000
#: The ramp that the scenario asks for; the benchmark measures the actual rate.
RAMP_PER_S = 5_000
SCENARIO = """\
version: 1
description: A broadcast to {count} subscribers.
clients:
  audience:
    count: {count}
    ramp: {ramp}/s
    subscribe: /default/all
  sender:
    count: 1
    publish: {{channel: /default/all, rate: 1/s, via: http, payload: 200B}}
phases: {{ready: probe, warmup: 1s, measure: 4s, drain: 3s}}
"""
COLUMNS = ("", "subscribers", "memory", "KB each", "connects/s", "CPU a connect", "deliveries", "verdict")


@dataclass(frozen=True)
class Seen:
    """The figures of one run, from its record."""

    subscribers: int
    rss_bytes: int
    connects_per_s: float
    #: CPU seconds that the generator used per subscriber, until all subscribers were ready.
    cpu_s: float
    reached: int
    deliveries: int
    expected: int
    verdict: str


def run(options: Options) -> Section:
    """Measure few and many subscribers, each without and with TLS; return the table and the bars of the chart."""
    section = Section(
        "Subscribers in one process",
        COLUMNS,
        note=f"{RAMP_PER_S:,}/s are asked for; generator and server share the cores.",
    )
    values: dict[str, float | None] = {}
    for kind, many in (("ws", MANY), ("wss", MANY_TLS)):
        try:
            few, most = (_measure(options.scratch, count, tls=kind == "wss") for count in (FEW, many))
        except RuntimeError as error:
            section.failures.append(f"{kind}: {error}")
            continue
        each_kb = (most.rss_bytes - few.rss_bytes) / (most.subscribers - few.subscribers) / 1e3
        for one, shown in ((few, "–"), (most, f"{each_kb:.1f}")):
            section.rows.append(
                (
                    kind, f"{one.subscribers:,}", f"{one.rss_bytes / 1e6:,.0f} MB", shown,
                    f"{one.connects_per_s:,.0f}", f"{one.cpu_s * 1e6:,.0f} µs",
                    f"{one.deliveries:,} of {one.expected:,}", one.verdict,
                )
            )  # fmt: skip
            if one.reached != one.subscribers:
                section.failures.append(f"{kind}: {one.reached:,} of {one.subscribers:,} got an event")
        values[kind] = each_kb
        for what, value, unit in (
            ("memory of a subscriber", each_kb, "KB"), ("CPU of a connect, whole run", most.cpu_s * 1e6, "µs")
        ):  # fmt: skip
            section.figures.append(Figure(what, f"ours, {kind}", None, value, unit, cost=True))
        if kind == "ws":
            values["reached"], values["connects"] = most.reached, most.connects_per_s
    section.bars = [
        Bar("subscribers: memory each, plain", values.get("ws"), 30, at_most=True, unit=" KB"),
        Bar("subscribers: memory each, TLS", values.get("wss"), 80, at_most=True, unit=" KB"),
        Bar("subscribers: in one process", values.get("reached"), MANY),
        Bar("subscribers: connects a second", values.get("connects"), 1_500),
    ]
    return section


def _measure(scratch: Path, count: int, *, tls: bool) -> Seen:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "broadcast.yaml").write_text(SCENARIO.format(count=count, ramp=RAMP_PER_S))
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    options: list[str] = []
    with ExitStack() as stack:
        if tls:
            certificate = _certificate(folder)
            server = stack.enter_context(ServerProcess(certificate)).announcement
            environment |= {"SSL_CERT_FILE": str(folder / "authority.pem"), "BENCH_KEY": server.api_key}
            url = f"https://localhost:{urlsplit(server.http_url).port}/event"
            options = ["--target", url, "--api-key-env", "BENCH_KEY"]
        done = subprocess.run(
            [
                sys.executable, "-m", "loadgen", "run", str(folder / "broadcast.yaml"),
                "--results", str(folder / "results"), *options,
            ],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    found = runs_in(folder / "results", "summary.json")
    if not found:
        raise RuntimeError(f"{count} subscribers: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return _seen(found[0], count)


def _seen(record: Path, count: int) -> Seen:
    summary = json.loads((record / "summary.json").read_text())
    manifest = json.loads((record / "manifest.json").read_text())
    phases = {phase["name"]: phase for phase in manifest["phases"]}
    health = pq.read_table(record / "health.parquet").to_pandas()
    measured = health[health.time_ns > phases["measure"]["start_ns"]]
    connections = pq.read_table(record / "connections.parquet").to_pandas()
    accepted = connections.acknowledged_ns.dropna()
    seconds = (accepted.max() - connections.started_ns.min()) / 1e9
    before = health[health.time_ns < phases["ready"]["end_ns"]]
    deliveries = pq.read_table(record / "deliveries.parquet", columns=["subscription"])
    return Seen(
        subscribers=count,
        rss_bytes=int(measured.rss_bytes.max()),
        connects_per_s=len(accepted) / seconds,
        cpu_s=float(before.cpu_ns.sum()) / 1e9 / count,
        reached=len(deliveries.column("subscription").unique()),
        deliveries=summary["ledger"]["delivered"],
        expected=summary["ledger"]["expected"],
        verdict=summary["verdict"]["kind"],
    )


def _certificate(folder: Path) -> list[str]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]
