"""The receivers to compare (ours, the C reader as the limit, and other tools), and the command that starts each."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speed.peers import COMMAND, SYSTEM_PEERS, program

HERE = Path(__file__).resolve().parent

LIMIT = "C, epoll and read (limit)"
K6 = "k6"
ARTILLERY = "Artillery"
LOCUST = "Locust with websocket-client"
#: It only counts the bytes that arrive while it waits: it has no step that reads messages one by one.
TSUNG = "Tsung (bytes, undecoded)"

#: Takes (port, subscribers, folder of the run, which is also the working directory) and returns the command.
Command = Callable[[int, int, Path], list[str]]


@dataclass(frozen=True)
class Receiver:
    """A receiver: the command to start it, or ``missing`` if it is not installed.

    It opens the given number of subscriptions, receives until the sender closes all connections, and prints how many
    ``deliveries`` or ``bytes`` it has received as a line of JSON.
    """

    name: str
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    #: The only core that it may use, or None for all cores.
    core: int | None = None
    missing: str | None = None


def _ours_command(port: int, subscribers: int, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "receive_ours.py"), str(port), str(subscribers), str(folder)]


OURS = Receiver("ours, ws", _ours_command)
OURS_TLS = Receiver("ours, wss", _ours_command, {"BENCH_TLS": "1"}, tls=True)
OURS_LIVE = Receiver("ours, with live displays", _ours_command, {"BENCH_LIVE": "1"})
OURS_BURNING = Receiver("ours, with busy Python code", _ours_command, {"BENCH_BURN": "1"})
OURS_UNRECORDED = Receiver("ours, record thrown away", _ours_command, {"BENCH_RECORD": "0"})


def everyone(scratch: Path) -> list[Receiver]:
    """Return all receivers, the limit and ours first; the limit is compiled into ``scratch``."""
    return [_limit(scratch), OURS, OURS_TLS, _k6(), _artillery(), _locust(), _tsung()]


def _limit(scratch: Path) -> Receiver:
    binary, compiler = scratch / "limit", program("cc")
    if compiler:
        subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / "limit.c")], check=True)
    script = str(HERE / "receive_limit.py")
    return Receiver(
        LIMIT,
        lambda port, count, _: [sys.executable, script, str(binary), str(port), str(count)],
        missing=_missing("cc", compiler),
    )


def _k6() -> Receiver:
    binary = program("k6")
    return Receiver(
        K6,
        lambda *_: [str(binary), "run", "--quiet", "--no-usage-report", str(HERE / "receive_k6.js")],
        missing=_missing("k6", binary),
    )


def _artillery() -> Receiver:
    binary, script = program("artillery"), str(HERE / "receive_artillery.py")
    return Receiver(
        ARTILLERY,
        lambda port, count, folder: [
            sys.executable, script, str(binary), str(port), str(count), str(folder)
        ],
        missing=_missing("Artillery", binary),
    )  # fmt: skip


def _locust() -> Receiver:
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "receive_locust.py"), "--headless"]
    command += ["--only-summary", "--loglevel", "ERROR", "--reset-stats", "-t", "10m"]
    return Receiver(
        LOCUST,
        lambda port, count, _: [*command, "-u", str(count), "-r", str(count)],
        missing=_missing("websocket-client", importlib.util.find_spec("websocket")),
    )


def _tsung() -> Receiver:
    binary, script = program("tsung"), str(HERE / "receive_tsung.py")
    return Receiver(
        TSUNG,
        lambda port, count, folder: [
            sys.executable, script, str(binary), str(port), str(count), str(folder)
        ],
        missing=_missing("tsung", binary),
    )  # fmt: skip


def _missing(name: str, found: object) -> str | None:
    if found:
        return None
    return f"{name}: {SYSTEM_PEERS.get(name, COMMAND)}"
