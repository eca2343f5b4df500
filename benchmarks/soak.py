"""Memory of our receiver with recording, during minutes at full rate: does it grow?

    python benchmarks/soak.py --minutes 10

Events are sent as fast as they are read, in bursts of twenty per write, so the receiver uses a whole core. The
receiver's memory is read every five seconds. It varies with the rate, since it contains the rows of the current second.
The bar: the median memory of the last half minute is within 10 % of the median of the half minute that follows the
first minute. Exits with 1 if the bar is missed, or if a delivery was not recorded.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from streams.process import Receiver, Shape, StreamError, receiving, sending  # noqa: E402
from streams.sender import Order  # noqa: E402

SAMPLE_S = 5.0
FIRST_S = 60.0
#: Length of each window of samples that are compared.
WINDOW_S = 30.0
WITHIN = 0.10
SIZE_BYTES = 200
IN_ONE_WRITE = 20


def main() -> int:
    """Print the samples and the verdict; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--subscribers", type=int, default=500)
    options = parser.parse_args()
    if options.minutes * 60 < FIRST_S + 2 * WINDOW_S:
        parser.error("what comes after the first minute is compared with it: --minutes 2 at least")
    shape = Shape(options.subscribers)
    # Keep the record in /var/tmp, because it grows with each delivery and /tmp may be in memory.
    with tempfile.TemporaryDirectory(prefix="loadgen-soak-", dir="/var/tmp") as folder:
        try:
            with sending(shape) as (url, pipe), receiving(shape, url, Path(folder)) as receiver:
                pipe.recv()
                pipe.send(Order(None, options.minutes * 60, SIZE_BYTES, IN_ONE_WRITE))
                samples = _watch(receiver, options.minutes * 60)
                sent = pipe.recv()
                receiver.wait_for(sent)
                recorded = receiver.stop()
        except StreamError as error:
            print(error)
            return 1
        written = sum(path.stat().st_size for path in Path(folder).glob("*.arrows"))
    print(f"{sent:,} events sent, {recorded:,} recorded, {written / 1e6:,.0f} MB of record")
    first = _median(samples, FIRST_S)
    last = _median(samples, samples[-1][0] - WINDOW_S)
    change = last / first - 1
    good = abs(change) <= WITHIN and sent == recorded
    most = max(rss for _, rss, _ in samples)
    print(
        f"memory after 1 minute {first / 1e6:,.1f} MB, at the end {last / 1e6:,.1f} MB: {change:+.1%}"
        f" (bar: ±{WITHIN:.0%}), at most {most / 1e6:,.1f} MB: {'met' if good else 'MISSED'}"
    )
    return 0 if good else 1


def _median(samples: list[tuple[float, int, float]], from_s: float) -> float:
    return median(rss for at_s, rss, _ in samples if from_s <= at_s <= from_s + WINDOW_S)


def _watch(receiver: Receiver, seconds: float) -> list[tuple[float, int, float]]:
    """Return a sample (seconds since the beginning, memory, share of a core) every five seconds."""
    began = last = time.monotonic()
    used = receiver.cpu_s
    samples = []
    print(f"{'s':>6} {'memory':>10} {'core':>6}")
    while (at := time.monotonic()) - began < seconds:
        time.sleep(min(SAMPLE_S, seconds - (at - began)))
        now, cpu = time.monotonic(), receiver.cpu_s
        samples.append((now - began, receiver.rss_bytes, (cpu - used) / (now - last)))
        used, last = cpu, now
        print(f"{now - began:>6.0f} {samples[-1][1] / 1e6:>7.1f} MB {samples[-1][2]:>6.0%}", flush=True)
    return samples


if __name__ == "__main__":
    sys.exit(main())
