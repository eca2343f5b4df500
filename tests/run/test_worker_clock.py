"""Test a worker's estimate of the master's clock during a run, with simulated clocks."""

from collections.abc import Sequence

import numpy as np
import pytest

from loadgen.measure.clock import Reading
from loadgen.measure.rows import ClockRow
from loadgen.run.worker_clock import WorkerClock
from tests.analysis.clock_coverage import MS, SECOND, pinged, world_of

_ENOUGH = 8


def followed(kind: str, seed: int, *, steady: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feed a worker's clock one by one with pings between simulated clocks, which differ at random.

    Return three arrays (ns) with values at random moments: the error of the estimate, the claimed error, and how
    early an event due within a tenth of a second would be sent.
    """
    random = np.random.default_rng(seed)
    world = world_of(kind, random)
    pings, edges, shown = pinged(world, random)
    order = np.argsort(edges[1]).tolist()
    looked = _moments(random, world.jumps, edges[1][order])
    # Compute the clocks' readings at all moments in one vectorised call. It takes no longer than for a single moment.
    nows, dues = (np.array(each) for each in zip(*looked.values(), strict=True))
    wall, raw, master = shown(nows)
    due_wall, _, due_master = shown(dues)
    place_of = {count: place for place, count in enumerate(looked)}
    place = 0

    def read() -> Reading:
        return Reading(int(wall[place]), int(raw[place]) if steady else None)

    clock = WorkerClock(False, read=read, monotonic_ns=lambda: round(nows[place]))
    assert pings.raw is not None
    sent_raw, received_raw, master_raw = pings.raw
    wrong, claimed, early = [], [], []
    for count, number in enumerate(order, start=1):
        row = ClockRow(
            int(pings.sent_ns[number]),
            int(pings.master_received_ns[number]),
            int(pings.master_sent_ns[number]),
            int(pings.received_ns[number]),
        )
        if steady:
            row = row._replace(
                sent_raw_ns=int(sent_raw[number]),
                master_raw_ns=int(master_raw[number]),
                received_raw_ns=int(received_raw[number]),
            )
        clock.add(row)
        if count not in place_of:
            continue
        place = place_of[count]
        wrong.append(abs(clock.offset_ns - int(master[place] - wall[place])))
        claimed.append(clock.error_ns)
        jumped = any(nows[place] <= number_ns <= dues[place] for number_ns, _ in world.jumps)
        early.append(-SECOND if jumped else int(due_wall[place]) - clock.local_ns(int(due_master[place])))
    return np.array(wrong), np.array(claimed), np.array(early)


def _moments(
    random: np.random.Generator, jumps: Sequence[tuple[float, float]], back: np.ndarray
) -> dict[int, tuple[float, float]]:
    """Draw one moment between each two consecutive ping answers.

    Return {number of answers received by then: (the moment, a due time up to a tenth of a second after it)}.
    """
    found = {}
    for count in range(_ENOUGH, len(back)):
        now = float(random.uniform(back[count - 1], back[count]))
        if any(number_ns <= now <= number_ns + SECOND for number_ns, _ in jumps):
            # A jump within the last second is noticed only with the next ping, so leave it out.
            continue
        found[count] = (now, now + random.uniform(0, 0.1) * SECOND)
    return found


@pytest.mark.parametrize(
    "kind",
    ["straight", "triangle", "random walk", "one way slower", "five steps of 0.9 ms", "steps of any size"],
)
def test_the_true_offset_is_within_the_claimed_error(kind: str) -> None:
    found = [followed(kind, seed) for seed in range(40)]
    wrong, claimed, early = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert np.mean(wrong > claimed) <= 0.001
    # An event is sent too early by at most the claimed error plus the slew that clocks may have in a tenth
    # of a second (1,000 ppm).
    assert np.mean(early > claimed + 0.1 * SECOND * 1000e-6) <= 0.001
    # Quick round trips keep the claimed error small, however long ago they were.
    assert np.median(claimed[wrong < MS]) < 15 * MS


def test_it_is_known_far_better_than_by_the_quickest_ping_of_the_last_20_s() -> None:
    """Within 20 s a clock that is slewed by 500 ppm moves 10 ms; the estimate is better than 1 ms."""
    found = [followed("triangle", seed) for seed in range(40)]
    assert max(float(np.max(wrong - claimed)) for wrong, claimed, _ in found) <= 0
    quick = [wrong for wrong, claimed, _ in found if np.median(claimed) < 0.5 * MS]
    assert len(quick) > 5
    assert float(np.max(np.concatenate(quick))) < MS


def test_without_steady_clocks_it_goes_by_the_wall_clocks() -> None:
    for kind in ("straight", "random walk", "one way slower"):
        wrong, claimed, _ = (
            np.concatenate(p) for p in zip(*(followed(kind, s, steady=False) for s in range(40)), strict=True)
        )
        assert np.mean(wrong > claimed) <= 0.002


def test_one_clock_is_the_identity_until_a_ping_speaks_against_it() -> None:
    clock = WorkerClock(True)
    assert clock.local_ns(123) == 123
    clock.add(ClockRow(1_000, 1_500, 1_600, 2_000))
    assert (clock.apart, clock.offset_ns, clock.local_ns(123)) == (False, 0, 123)
    clock.add(ClockRow(3_000, 1_003_500, 1_003_600, 4_000))
    assert clock.apart


def test_it_is_ready_after_eight_pings_and_at_once_within_one_process() -> None:
    assert WorkerClock(True, True).ready.is_set()
    clock = WorkerClock(False)
    for number in range(8):
        assert not clock.ready.is_set()
        clock.add(
            ClockRow(number * 10_000, number * 10_000 + 50, number * 10_000 + 60, number * 10_000 + 100)
        )
    assert clock.ready.is_set()
