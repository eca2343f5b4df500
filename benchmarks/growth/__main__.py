"""Growth of cost with the amount of work, one axis at a time: tables, plots, and a verdict for each axis.

    python benchmarks/growth.py                        all axes, into results/growth
    python benchmarks/growth.py --quick --only payload

The receiving axes keep the total rate of deliveries and vary the number of connections, channels or subscriptions per
connection, or the size of an event. The idle cost of the process is subtracted. The starting axes time work that is
done once, before or after a run. An exponent k is that of total cost ~ n^k, fitted by least squares on logarithmic
scales. If a cost is paid for each of n and does not depend on n, k is 1. Exits with 1 if a cost grows faster than
linearly.
"""

import argparse
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import matplotlib as mpl  # noqa: E402
import psutil  # noqa: E402
from server_fanout import subscribe  # noqa: E402
from streams.process import Receiver, Shape, StreamError, cpu_s, receiving, sending  # noqa: E402
from streams.sender import TOKEN, Order  # noqa: E402

from analysis.record.folders import runs_in  # noqa: E402
from loadgen.payloads.stamping import plain, stamped  # noqa: E402
from loadgen.protocol.appsync import messages  # noqa: E402
from loadgen.protocol.appsync.auth import ApiKey  # noqa: E402
from loadgen.resolve import Clients  # noqa: E402
from loadgen.resolve.loading import load  # noqa: E402
from loadgen.resolve.resolver import resolve  # noqa: E402
from loadgen.run.shares import shares  # noqa: E402
from loadgen.server.process import Announcement, ServerProcess  # noqa: E402

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

#: How far an exponent may be above 1 and still count as linear: results vary by about ten percent between runs.
TOLERANCE = 0.1
RATE_PER_S = 4_000.0
PAYLOAD_RATE_PER_S = 400.0
BATCH = 5
SIZE_BYTES = 200
IDLE_S = 3.0
#: Longer than the second between two flushes.
WARMUP_S = 2.0
_ANSWER = b"publish_success"
#: Growth counts only if it exceeds this share of the first value; less is noise.
NOISE = 0.1


@dataclass(frozen=True)
class Measure:
    """One kind of cost along an axis; ``total`` computes the cost of all n from n and the value in the table."""

    name: str
    unit: str
    total: Callable[[float, float], float]
    #: True if the cost at the smallest n is that of the process, and is subtracted from the others.
    less_the_first: bool = False


@dataclass
class Axis:
    """A table with the values of the measures for each n; a missing value is None."""

    name: str
    n: str
    measures: Sequence[Measure]
    note: str
    points: list[tuple[float, list[float | None]]] = field(default_factory=list)

    def exponent(self, place: int) -> float | None:
        """Return k of total cost ~ n^k for the measure with index ``place``, or None if it is unknown."""
        measure = self.measures[place]
        known = [(n, values[place]) for n, values in self.points]
        pairs = [(n, measure.total(n, value)) for n, value in known if value is not None]
        if measure.less_the_first and pairs:
            (first_n, first), *others = pairs
            if max((value for _, value in others), default=first) < first * (1 + NOISE):
                return None
            # Growth below the noise does not show how the cost grows.
            pairs = [(n - first_n, value - first) for n, value in others if value > first * (1 + NOISE)]
        logs = [(math.log(n), math.log(value)) for n, value in pairs if n > 0 and value > 0]
        if len(logs) < 3:
            return None
        mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
        along = sum((x - mean_x) * (y - mean_y) for x, y in logs)
        return float(along / sum((x - mean_x) ** 2 for x, _ in logs))


def each_times_n(n: float, value: float) -> float:
    return n * value


def as_it_is(_n: float, value: float) -> float:
    return value


CPU = Measure("generator CPU a delivery", "µs", each_times_n)
RSS = Measure("generator memory", "MB", as_it_is, less_the_first=True)
SERVER = Measure("server CPU a delivery", "µs", each_times_n)


# Receiving.


def connections(quick: bool) -> Axis:
    """Vary connections with one subscription each."""
    axis = Axis(
        "connections", "connections", (CPU, RSS), f"{RATE_PER_S:,.0f} deliveries/s of {SIZE_BYTES} B in all"
    )
    for n in (100, 1_000, 5_000) if quick else (100, 300, 1_000, 3_000, 7_000, 15_000):
        axis.points.append((n, list(_from_sender(Shape(n), RATE_PER_S, SIZE_BYTES, quick))))
    return axis


def payload(quick: bool) -> Axis:
    """Vary the size of an event."""
    cpu = Measure("generator CPU a KB", "µs", each_times_n)
    axis = Axis(
        "payload",
        "bytes an event",
        (
            Measure("generator CPU a delivery", "µs", as_it_is),
            cpu,
            Measure("generator memory", "MB", as_it_is),
        ),
        f"{PAYLOAD_RATE_PER_S:,.0f} deliveries/s, 100 connections",
    )
    for n in (100, 4_000, 240_000) if quick else (100, 1_000, 5_000, 20_000, 80_000, 240_000):
        each, rss = _from_sender(Shape(100), PAYLOAD_RATE_PER_S, n, quick)
        axis.points.append((n, [each, each / (n / 1_000), rss]))
    return axis


def _from_sender(shape: Shape, rate: float, size_bytes: int, quick: bool) -> tuple[float, float]:
    """Return the receiver's (µs of CPU per delivery, memory in MB)."""
    seconds = 3.0 if quick else 6.0
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-growth-") as folder,
        sending(shape) as (url, pipe),
        receiving(shape, url, Path(folder)) as receiver,
    ):
        pipe.recv()

        def send(seconds: float) -> int:
            pipe.send(Order(rate, seconds, size_bytes))
            sent: int = pipe.recv()
            return sent

        warmed_up = send(WARMUP_S)
        idle = _idle(receiver)
        before, began = receiver.cpu_s, time.monotonic()
        sent = send(seconds)
        rss = receiver.rss_bytes
        used = receiver.settled_cpu_s() - before - idle * (time.monotonic() - began)
        if receiver.stop() != warmed_up + sent:
            raise StreamError(f"{shape}: not all of {sent:,} deliveries were recorded")
    return used / sent * 1e6, rss / 1e6


def _idle(receiver: Receiver) -> float:
    """Return the share of a core that a receiver uses while nothing arrives; call it after deliveries have arrived.

    The first flush of deliveries imports modules. That time is neither idle cost nor cost per delivery.
    """
    time.sleep(WARMUP_S)
    receiver.settled_cpu_s()
    before, began = receiver.cpu_s, time.monotonic()
    time.sleep(IDLE_S)
    return (receiver.cpu_s - before) / (time.monotonic() - began)


def channels(quick: bool) -> Axis:
    """Vary the number of channels at a constant number of subscriptions."""
    axis = Axis(
        "channels",
        "channels",
        (CPU, RSS, SERVER),
        "10,000 subscriptions on 50 connections; each delivery is of a publish of its own, five in a request; "
        f"{RATE_PER_S / 2:,.0f}/s in all",
    )
    for n in (1, 100, 10_000) if quick else (1, 10, 100, 1_000, 10_000):
        axis.points.append((n, list(_from_server(Shape(50, 200, n), quick))))
    return axis


def subscriptions(quick: bool) -> Axis:
    """Vary the subscriptions of a connection."""
    axis = Axis(
        "subscriptions",
        "subscriptions a connection",
        (CPU, RSS, SERVER),
        f"50 connections, each subscription to a channel of its own; {RATE_PER_S / 2:,.0f} deliveries/s in all",
    )
    for n in (1, 20, 200) if quick else (1, 5, 20, 50, 100, 200):
        axis.points.append((n, list(_from_server(Shape(50, n, 50 * n), quick))))
    return axis


def _from_server(shape: Shape, quick: bool) -> tuple[float, float, float]:
    """Return (µs of CPU per delivery of the generator, its memory in MB, µs of CPU per delivery of the server)."""
    seconds = 3.0 if quick else 6.0
    with tempfile.TemporaryDirectory(prefix="loadgen-growth-") as folder, ServerProcess() as server:
        announced = server.announcement
        serving = psutil.Process(announced.pid)
        with receiving(shape, announced.http_url, Path(folder), announced.api_key) as receiver:
            with multiprocessing.get_context("spawn").Pool(1) as pool:

                def send(seconds: float) -> int:
                    return pool.apply(_publish, (announced, shape.channels, RATE_PER_S / 2, seconds))

                warmed_up = send(WARMUP_S)
                idle = _idle(receiver)
                before, began, server_before = receiver.cpu_s, time.monotonic(), cpu_s(serving)
                sent = send(seconds)
            rss = receiver.rss_bytes
            settled = receiver.settled_cpu_s()
            used = settled - before - idle * (time.monotonic() - began)
            served = cpu_s(serving) - server_before
            if receiver.stop() != warmed_up + sent:
                raise StreamError(f"{shape}: not all of {sent:,} deliveries were recorded")
    return used / sent * 1e6, rss / 1e6, served / sent * 1e6


def _publish(server: Announcement, count: int, rate: float, seconds: float) -> int:
    """Publish batches to one channel after another; return the number of published events."""
    connection = subscribe(server, 10**9, "/default/nobody")
    authorization = ApiKey(server.api_key).frame_authorization(urlsplit(server.http_url).netloc, "")
    began_s, sent = time.monotonic(), 0
    answered, rest = 0, b""
    connection.setblocking(False)
    # Large steps, so that consecutive channels are not neighbours in a table of the generator or the server.
    step = 1 if count == 1 else next(step for step in (7_919, 7_907, 7_901) if count % step)
    while (elapsed_s := time.monotonic() - began_s) < seconds or answered < sent // BATCH:
        try:
            data = rest + connection.recv(1 << 16)
            answered += data.count(_ANSWER)
            # The remaining bytes may be the beginning of an answer.
            rest = data[-len(_ANSWER) + 1 :]
        except BlockingIOError:
            time.sleep(0.0005)
        if elapsed_s > seconds + 10:
            raise StreamError("the server did not answer all publishes")
        if elapsed_s >= seconds or sent + BATCH > elapsed_s * rate:
            continue
        now_ns = time.time_ns()
        numbers = range(sent, sent + BATCH)
        events, _ = stamped(TOKEN, 1, numbers, now_ns, now_ns, [plain(SIZE_BYTES)] * BATCH)
        channel = f"/default/growth/{sent // BATCH * step % count}"
        # The stamps are in the events, so each event is a text.
        texts = cast(Sequence[str], events)
        message = messages.publish(f"p{sent}", channel, texts, authorization)
        connection.setblocking(True)
        connection.sendall(b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message)
        connection.setblocking(False)
        sent += BATCH
    connection.close()
    return sent


# Starting and ending.

_SCENARIO = """
version: 1
variables:
  room: {{count: {channels}}}
clients:
  readers:
    count: {clients}
    ramp: {ramp}/s
    subscribe: [{subscribe}]
  writers:
    count: 1
    publish: {{channel: "/default/growth/{{room}}", rate: 200/s}}
phases: {{ready: probe, ready_timeout: 60s, warmup: 0s, measure: 3s, drain: 1s}}
"""


def _scenario(folder: Path, clients: int, each: int, count: int, ramp: int) -> Path:
    path = folder / "growth.yaml"
    entries = ", ".join(['"/default/growth/{room}"'] * each)
    path.write_text(_SCENARIO.format(channels=count, clients=clients, subscribe=entries, ramp=ramp))
    return path


def planning(quick: bool) -> Axis:
    """Time the planning of all clients, and the claims of workers on them."""
    axis = Axis(
        "planning",
        "clients",
        (Measure("resolving, totals and every client", "ms", as_it_is), Measure("claims", "ms", as_it_is)),
        "one subscription each of 1,000 channels; claims in turns of 100",
    )
    with tempfile.TemporaryDirectory() as name:
        for n in (1_000, 10_000, 50_000) if quick else (100, 1_000, 5_000, 20_000, 50_000, 100_000):
            scenario = load(str(_scenario(Path(name), n, 1, 1_000, 10_000)))
            began = time.perf_counter()
            run = resolve(scenario)
            plan = Clients(run)
            _ = run.totals
            for number in range(n):
                plan.client(number)
            planned = time.perf_counter()
            # As the master does for each message of a worker.
            (share,) = shares(run, [Fraction(1)])
            free = share.free["subscriber"]
            while free:
                [free.popleft() for _ in range(min(100, len(free)))]
            axis.points.append((n, [(planned - began) * 1e3, (time.perf_counter() - planned) * 1e3]))
    return axis


def probing(quick: bool) -> Axis:
    """Vary the number of channels of a whole run, and time its readiness probes and its report."""
    axis = Axis(
        "probing",
        "channels",
        (
            Measure("all proven ready after", "s", as_it_is, less_the_first=True),
            Measure("report", "CPU s", as_it_is, less_the_first=True),
        ),
        "`loadgen run` and `loadgen report`: 10,000 subscriptions on 50 connections",
    )
    for n in (1, 1_000, 10_000) if quick else (1, 100, 1_000, 3_000, 10_000):
        with tempfile.TemporaryDirectory(prefix="loadgen-growth-") as name:
            folder = Path(name)
            record = _whole_run(_scenario(folder, 50, 200, n, 50), folder)
            axis.points.append((n, [_ready_s(record), _report_s(record)]))
    return axis


def _whole_run(scenario: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "loadgen", "run", str(scenario), "--results", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=180)
    found = runs_in(folder, "summary.json")
    if not found:
        raise StreamError(f"a run left no summary: {done.stderr[-500:]}")
    return found[0]


def _ready_s(record: Path) -> float:
    """Return how long after the last acknowledgement the last subscription was ready."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(record / "subscriptions.parquet", columns=["acknowledged_ns", "ready_ns"])
    if table["ready_ns"].null_count:
        raise StreamError("not every subscription was ready")
    return float((pc.max(table["ready_ns"]).as_py() - pc.max(table["acknowledged_ns"]).as_py()) / 1e9)


def _report_s(record: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-m", "loadgen", "report", str(record)]
    subprocess.run(command, env=environment, capture_output=True, timeout=180, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


AXES: dict[str, Callable[[bool], Axis]] = {
    "connections": connections,
    "channels": channels,
    "subscriptions": subscriptions,
    "payload": payload,
    "planning": planning,
    "probing": probing,
}


# The report.


def verdict(exponent: float | None) -> str:
    if exponent is None:
        return "does not grow measurably"
    if exponent > 1 + TOLERANCE:
        return "**worse than linear**"
    return "linear or better"


def markdown(axis: Axis) -> str:
    """Return the axis as a table with its verdicts."""
    names = [f"{measure.name} ({measure.unit})" for measure in axis.measures]
    lines = [f"## {axis.name}", "", f"{axis.note}.", "", "| " + " | ".join((axis.n, *names)) + " |"]
    lines.append("|" + "---:|" * (len(names) + 1))
    for n, values in axis.points:
        cells = ["–" if value is None else f"{value:,.2f}" for value in values]
        lines.append(f"| {n:,.0f} | " + " | ".join(cells) + " |")
    lines.append("")
    for place, measure in enumerate(axis.measures):
        exponent = axis.exponent(place)
        fitted = "" if exponent is None else f"total ~ n^{exponent:.2f}, "
        lines.append(f"- {measure.name}: {fitted}{verdict(exponent)}")
    return "\n".join([*lines, ""])


def plot(axis: Axis, path: Path) -> None:
    figure, places = plt.subplots(
        1, len(axis.measures), figsize=(4.5 * len(axis.measures), 3.4), squeeze=False, layout="constrained"
    )
    for place, (measure, axes) in enumerate(zip(axis.measures, places[0], strict=True)):
        known = [(n, values[place]) for n, values in axis.points if values[place] is not None]
        axes.plot([n for n, _ in known], [value for _, value in known], "o-")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(axis.n)
        axes.set_ylabel(f"{measure.name} ({measure.unit})")
        exponent = axis.exponent(place)
        axes.set_title("" if exponent is None else f"total ~ n^{exponent:.2f}")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Measure the axes and write the report; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three points an axis, half the time each")
    parser.add_argument("--only", choices=AXES, action="append", help="this axis, repeatable")
    parser.add_argument("--out", type=Path, default=Path("results/growth"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    texts, bad = ["# How cost grows", ""], []
    failed = False
    for name in options.only or AXES:
        try:
            axis = AXES[name](options.quick)
        except StreamError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        plot(axis, options.out / f"{name}.png")
        texts += [markdown(axis), f"![{name}]({name}.png)", ""]
        print(markdown(axis), flush=True)
        bad += [
            f"{name}: {measure.name}"
            for place, measure in enumerate(axis.measures)
            if (axis.exponent(place) or 0) > 1 + TOLERANCE
        ]
    report = options.out / "growth.md"
    report.write_text("\n".join(texts))
    print("worse than linear: " + ("; ".join(bad) if bad else "nothing"))
    print(report)
    return 1 if bad or failed else 0


if __name__ == "__main__":
    sys.exit(main())
