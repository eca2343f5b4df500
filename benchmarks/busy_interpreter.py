"""Does Python code that keeps the interpreter busy delay reads? `python benchmarks/busy_interpreter.py`.

A receiver set up like a worker's gets 20,000 deliveries a second while its interpreter is in each of three states in
turn: it is idle; a native thread runs Python code all the time; a greenlet runs Python code, and lets the event loop
run every 20 ms. Prints two figures for each state: the receive-queue delay, which is the time from the kernel's stamp
of a delivery to the end of the read, and the share of deliveries that were read together with later ones and so have
only the last one's stamp.

The benchmark passes if, with busy Python code, the p99 of the delay is at most 1.3 times the p99 with an idle
interpreter, and at most 0.1 % of the deliveries share a stamp. Otherwise it exits with 1. On two cores the sender, the
busy code and the kernel compete with the reading thread for a core; the delay includes the time that it waits for one.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from receive import measure  # noqa: E402
from receive.measure import FAN_OUT  # noqa: E402
from receive.receive_burn import BURN, GREENLET, THREAD  # noqa: E402
from receive.receivers import OURS_BURNING  # noqa: E402
from receive.running import Running, not_received, running  # noqa: E402
from receive.sender import Sent  # noqa: E402

from analysis.record.schemas import spool_name  # noqa: E402
from loadgen.measure.spool import read_batches  # noqa: E402

MOST_RATIO, MOST_SHARED = 1.3, 0.001
IDLE = "idle"
#: Time to wait after telling the receiver to start or stop the busy code.
SETTLE_S = 0.3

Values = npt.NDArray[np.int64]


@dataclass
class Side:
    """The measurements of one state of the interpreter: idle, busy in a thread, or busy in a greenlet."""

    sent: list[Sent] = field(default_factory=list)
    delay_ns: list[Values] = field(default_factory=list)
    uncertain_ns: list[Values] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        """Read the receiver's record, and add the figures of those deliveries that arrived in the periods of `sent`."""
        for batch in read_batches(folder / spool_name("deliveries", 0)):
            read_ns, arrival_ns, uncertain_ns = (
                batch.column(name).to_numpy().astype(np.int64)
                for name in ("read_ns", "arrival_ns", "uncertain_ns")
            )
            for sent in self.sent:
                inside = (arrival_ns >= sent.began_ns) & (arrival_ns < sent.ended_ns)
                self.delay_ns.append((read_ns - arrival_ns)[inside])
                self.uncertain_ns.append(uncertain_ns[inside])

    def percentile_us(self, percent: float) -> float:
        """Return a percentile of the receive-queue delay (µs)."""
        return float(np.percentile(np.concatenate(self.delay_ns), percent)) / 1e3

    @property
    def shared(self) -> float:
        """Share of deliveries without a kernel stamp of their own, as they were read together with later ones."""
        return float(np.mean(np.concatenate(self.uncertain_ns) > 0))

    @property
    def count(self) -> int:
        """Number of deliveries."""
        return sum(map(len, self.delay_ns))


def send(one: Running, state: str, rate: float, seconds: float) -> Sent:
    """Put the interpreter into ``state``, send events, and make it idle again; return what was sent."""
    burn = one.folder / BURN
    if state != IDLE:
        burn.write_text(state)
    time.sleep(SETTLE_S)
    sent = one.begin(measure.paced(rate, FAN_OUT, seconds))()
    time.sleep(SETTLE_S)
    burn.unlink(missing_ok=True)
    one.settled()
    return sent


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each state (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (default %(default)s)")
    parser.add_argument("--subscribers", type=int, default=500, help="default %(default)s")
    parser.add_argument(
        "--rate", type=float, default=20_000, help="deliveries a second (default %(default)s)"
    )
    options = parser.parse_args()
    sides = {state: Side() for state in (IDLE, THREAD, GREENLET)}
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-busy-") as folder,
        running(OURS_BURNING, options.subscribers, Path(folder)) as one,
    ):
        for _ in range(options.rounds):
            for state, side in sides.items():
                side.sent.append(send(one, state, options.rate / options.subscribers, options.seconds))
        one.stop()
        lost = not_received(one)
        for side in sides.values():
            side.take(one.folder)
    base_us = sides[IDLE].percentile_us(99)
    met = lost is None
    print(f"{'interpreter':12} {'deliveries':>10} {'p50':>9} {'p99':>9} {'÷ idle':>7} {'shared':>8}")
    for state, side in sides.items():
        ratio = side.percentile_us(99) / base_us
        met = met and ratio <= MOST_RATIO and (state == IDLE or side.shared <= MOST_SHARED)
        print(
            f"{state:12} {side.count:10,} {side.percentile_us(50):6,.0f} µs {side.percentile_us(99):6,.0f} µs"
            f" {ratio:7.2f} {side.shared:8.3%}"
        )
    if lost is not None:
        print(f"wrong: {lost}")
    print(
        f"bars: p99 at most {MOST_RATIO:g} × idle, shared at most {MOST_SHARED:.1%}: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
