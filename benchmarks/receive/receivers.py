"""The receivers that are compared: ours, the limit, and the peers, with how to start each."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: (port, subscribers, the run's folder, which is also where it runs) -> the command.
Command = Callable[[int, int, Path], list[str]]


@dataclass(frozen=True)
class Receiver:
    """A receiver: how to start it, or, where it cannot be, what is missing.

    It subscribes as often as it is told, receives until the sender hangs up on everybody, and says in a line of JSON
    how many ``deliveries`` or ``bytes`` it has received.
    """

    name: str
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    missing: str | None = None


def _ours_command(port: int, subscribers: int, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "receive_ours.py"), str(port), str(subscribers), str(folder)]


OURS = Receiver("ours, ws", _ours_command)
OURS_TLS = Receiver("ours, wss", _ours_command, {"BENCH_TLS": "1"}, tls=True)
OURS_UNRECORDED = Receiver("ours, record thrown away", _ours_command, {"BENCH_RECORD": "0"})


def limit(scratch: Path) -> Receiver:
    """Return the C reader, compiled into the folder."""
    binary, compiler = scratch / "limit", shutil.which("cc") or shutil.which("gcc")
    if compiler:
        subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / "limit.c")], check=True)
    script = str(HERE / "receive_limit.py")
    return Receiver(
        "C, epoll and read (the limit)",
        lambda port, count, _: [sys.executable, script, str(binary), str(port), str(count)],
        missing=None if compiler else "a C compiler: apt-get install gcc",
    )


def k6() -> Receiver:
    """Return k6."""
    binary = shutil.which("k6") or shutil.which("k6", path=str(Path(sys.executable).parent))
    return Receiver(
        "k6",
        lambda *_: [str(binary), "run", "--quiet", "--no-usage-report", str(HERE / "receive_k6.js")],
        missing=None if binary else "k6: python benchmarks/speed/peers.py",
    )


def locust() -> Receiver:
    """Return Locust with websocket-client."""
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "receive_locust.py"), "--headless"]
    command += ["--only-summary", "--loglevel", "ERROR", "--reset-stats", "-t", "10m"]
    found = importlib.util.find_spec("websocket")
    return Receiver(
        "Locust with websocket-client",
        lambda port, count, _: [*command, "-u", str(count), "-r", str(count)],
        missing=None if found else "websocket-client: python benchmarks/speed/peers.py",
    )


def everyone(scratch: Path) -> list[Receiver]:
    """Return all of them, the limit and ours first."""
    return [limit(scratch), OURS, OURS_TLS, k6(), locust()]
