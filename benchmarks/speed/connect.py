"""Measure a client's CPU time per connect and memory per subscriber: ours, `websockets`, and a bare client in C.

A connect is TCP, TLS if any, the WebSocket upgrade, `connection_init` with its answer, and one `subscribe` with its
answer. All clients connect to the same kind of server with the same concurrency, and keep every connection open. Our
client also records, and has a Locust user for each connection. The server's CPU time does not count.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from connect.process import CHANNEL, KEY

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.transport.upgrade import Upgrade
from speed.peers import program
from speed.section import Bar, Figure, Options, Section
from speed.serving import serving

REPO = Path(__file__).resolve().parents[2]
HERE = REPO / "benchmarks" / "connect"
FEW, MANY, AT_ONCE = 1_000, 4_000, 50
#: Least share of connects that must resume a TLS session. The first connects have no session to resume.
RESUMED_LEAST = 0.9
PLAIN, TLS, RESUMED = "", "tls", "resume"
NAMED = {PLAIN: "ws", TLS: "wss", RESUMED: "wss, resumed"}
BARE, OURS, LIBRARY = "C, bare", "ours", "websockets"


@dataclass(frozen=True)
class Client:
    """One client to measure; ``checkout`` is the working copy whose `loadgen` it uses."""

    name: str
    kind: str
    checkout: Path = REPO

    @property
    def label(self) -> str:
        """The client's name in the table."""
        where = "" if self.checkout == REPO else f" of {self.checkout}"
        return f"{self.name}{where}, {NAMED[self.kind]}"


def run(options: Options) -> Section:
    """Measure all clients in turn, in several rounds; return the table, and the figures with their targets."""
    section = Section(
        f"Connect and subscribe, {MANY - FEW:,} times, {AT_ONCE} at once",
        ("client", "µs CPU", "rounds", "÷ C", "connects/s", "KB each"),
        note="Medians of the rounds. CPU of the client's process alone; memory is PSS of that process.",
    )
    binary = _built(options.scratch, section)
    found: dict[Client, list[dict[str, Any]]] = {each: [] for each in _clients(options, binary)}
    try:
        for _ in range(options.rounds):
            for client, results in found.items():
                try:
                    results.append(measured(client, binary, options.scratch))
                except RuntimeError as error:
                    section.failures.append(str(error))
    except KeyboardInterrupt:
        section.interrupted = True
    each_us = {client: _each_us(results) for client, results in found.items() if results}
    for client, us in each_us.items():
        limit = each_us.get(Client(BARE, client.kind))
        results = found[client]
        section.rows.append(
            (
                client.label,
                f"{median(us):,.0f}",
                f"{min(us):,.0f}–{max(us):,.0f}",
                f"{median(us) / median(limit):.2f}" if limit else "–",
                f"{median((MANY - FEW) / one['seconds'] for one in results):,.0f}",
                f"{_kb(results):.1f}",
            )
        )
        role = {BARE: "limit", OURS: "ours"}.get(client.name, "") if client.checkout == REPO else ""
        details = {"kb": _kb(results)}
        what = f"connect and subscribe, {NAMED[client.kind]}"
        section.figures.append(
            Figure(
                what, client.label, None, median(us), "µs CPU", role, tuple(us), cost=True, details=details
            )
        )
        if client.kind == RESUMED and results[0]["resumed"] < MANY * RESUMED_LEAST:
            section.failures.append(f"{client.label}: only {results[0]['resumed']} sessions were resumed")
    for kind, most, most_kb in ((PLAIN, 3.0, 16), (TLS, 1.5, 45)):
        ours, limit = each_us.get(Client(OURS, kind)), each_us.get(Client(BARE, kind))
        ratio = median(ours) / median(limit) if ours and limit else None
        kb = _kb(found[Client(OURS, kind)]) if ours else None
        named = NAMED[kind]
        section.bars += [
            Bar(f"connect: CPU ÷ the bare C client's, {named}", ratio, most, at_most=True),
            Bar(f"connect: memory a subscriber, {named}", kb, most_kb, at_most=True, unit=" KB"),
        ]
    return section


def _clients(options: Options, binary: Path | None) -> list[Client]:
    clients = [Client(BARE, kind) for kind in NAMED] if binary is not None else []
    clients += [Client(OURS, kind) for kind in NAMED]
    clients += [Client(OURS, kind, path.resolve()) for path in options.checkouts for kind in (PLAIN, TLS)]
    return [*clients, *(Client(LIBRARY, kind) for kind in (PLAIN, TLS))]


def _each_us(results: Sequence[dict[str, Any]]) -> list[float]:
    return [one["cpu_s"] / (MANY - FEW) * 1e6 for one in results]


def _kb(results: Sequence[dict[str, Any]]) -> float:
    return median(float(one["kb"]) for one in results) / (MANY - FEW)


def _built(scratch: Path, section: Section) -> Path | None:
    """Compile the C client; if that fails, add the package to install to the section's ``missing``."""
    compiler = program("cc")
    if compiler is None:
        section.missing.append(f"{BARE}: apt-get install gcc libssl-dev")
        return None
    binary = scratch / "bare"
    done = subprocess.run(
        [compiler, "-O2", "-DWITH_TLS", "-o", binary, HERE / "bare.c", "-lssl", "-lcrypto"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        section.missing.append(f"{BARE}: apt-get install libssl-dev ({done.stderr.strip()[-200:]})")
        return None
    return binary


def measured(client: Client, binary: Path | None, scratch: Path) -> dict[str, Any]:
    """Run one client against a new server; return its figures.

    Raises:
        RuntimeError: the client failed.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    environment = {
        **os.environ,
        "PYTHONPATH": str(client.checkout),
        "SSL_CERT_FILE": str(folder / "authority.pem"),
    }
    authority = () if client.kind == PLAIN else (environment["SSL_CERT_FILE"],)
    with serving(HERE / "server.py", *authority) as port:
        kind = [client.kind] if client.kind else []
        counts = [str(port), str(FEW), str(MANY), str(AT_ONCE)]
        if client.name == BARE:
            (folder / "messages").write_text(_said(port))
            command = [str(binary), *counts, str(folder / "messages"), *kind]
        elif client.name == OURS:
            command = [sys.executable, str(HERE / "ours.py"), *counts, str(folder), *kind]
        else:
            command = [sys.executable, str(HERE / "websockets_client.py"), *counts, *kind]
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{client.label}: did not end") from None
        if done.returncode != 0 or not done.stdout:
            raise RuntimeError(f"{client.label}: ended with {done.returncode}: {done.stderr[-800:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def _said(port: int) -> str:
    """Return our client's upgrade request and its WebSocket frames (with zero masks), in hexadecimal, one per line."""
    service = AppSyncEvents(Endpoints.from_url(f"http://127.0.0.1:{port}/event"), ApiKey(KEY))
    handshake = service.handshake()
    request = Upgrade(service.connect_url, handshake.subprotocols, handshake.headers).request
    subscribe = messages.subscribe("s1234", CHANNEL, service.subscribe_authorization(CHANNEL))
    return (
        "\n".join(each.hex() for each in (request, *map(_framed, (messages.connection_init(), subscribe))))
        + "\n"
    )


def _framed(message: bytes) -> bytes:
    length = len(message)
    head = bytes([0x81, 0x80 | length]) if length < 126 else bytes([0x81, 0xFE, *length.to_bytes(2, "big")])
    return head + b"\0\0\0\0" + message
