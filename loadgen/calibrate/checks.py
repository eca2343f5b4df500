"""Compare the harness's figures with the server's journal, and decide which differences are acceptable.

The journal is what the embedded server itself has recorded: every delivery, and every fault that it injected.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from analysis.figures.percentiles import nearest_rank
from analysis.text import duration
from loadgen.calibrate.truth import DUPLICATE, Ints, Truth, pairs, reordered

#: Largest allowed difference (ns) between a measured and a true percentile; it is the accuracy goal on loopback.
DELAY_BAR_NS = 200_000


@dataclass(frozen=True)
class Line:
    """One line of the result table; `naive` is the figure of a receiver without kernel timestamps."""

    what: str
    truth: str
    harness: str
    naive: str
    #: The difference between `truth` and `harness` that decides `passed`, such as "0 missed, 0 invented". `passed` is
    #: None for a line that only informs.
    difference: str
    passed: bool | None


Check = Callable[[Truth], Iterator[Line]]


def ledger(truth: Truth) -> Iterator[Line]:
    """Check that the harness found every drop, duplicate and reorder in the journal, and invented none."""
    book = truth.settled.ledger
    dropped = pairs(truth.withheld)
    received, written = pairs(truth.received), pairs(truth.written)
    yield Line(
        "deliveries written",
        f"{len(truth.written):,}",
        f"{len(truth.received):,}",
        "",
        f"{len(written - received):,} missed, {len(received - written):,} invented",
        received == written and len(truth.written) == len(truth.received),
    )
    wrong = _by_subscription(truth, dropped)
    yield Line(
        "dropped",
        f"{len(dropped):,}",
        f"{book.lost:,}",
        "",
        f"{wrong:,} subscriptions disagree",
        book.lost == len(dropped) and wrong == 0,
    )
    injected = pairs(truth.written[truth.written["action"] == DUPLICATE])
    twice = pairs(truth.received[truth.received["copy"] > 0])
    yield Line(
        "duplicated",
        f"{len(injected):,}",
        f"{book.duplicates:,}",
        "",
        f"{len(injected - twice):,} missed, {len(twice - injected):,} invented",
        injected == twice and book.duplicates == len(injected),
    )
    done, seen = reordered(truth.written), reordered(truth.received)
    yield Line(
        "reordered",
        f"{len(done):,}",
        f"{book.reordered:,}",
        "",
        f"{len(done - seen):,} missed, {len(seen - done):,} invented",
        done == seen and book.reordered == len(done),
    )
    yield balance(truth)


def balance(truth: Truth) -> Line:
    """Check that the ledger balances: expected = delivered + late + the three kinds of lost deliveries."""
    book = truth.settled.ledger
    parts = (book.delivered, book.late, book.lost_before_ready, book.lost_in_reconnect, book.lost_otherwise)
    return Line(
        "ledger",
        f"{book.expected:,} expected",
        " + ".join(f"{part:,}" for part in parts),
        "",
        "balances" if book.balances else "does NOT balance",
        book.balances,
    )


def delay(truth: Truth) -> Iterator[Line]:
    """Check that the measured p50 and p99 match those in the server's journal, which include the injected delay.

    The lines also show the figures that a receiver without kernel timestamps would measure.
    """
    joined = truth.joined()
    columns = {
        name: joined[name].to_numpy(dtype=np.int64)
        for name in ("sent_ns", "arrival_ns", "read_ns", "written_ns")
    }
    sent_ns = columns["sent_ns"]
    made, harness, naive = (
        np.sort(columns[name] - sent_ns) for name in ("written_ns", "arrival_ns", "read_ns")
    )
    for percent in (50.0, 99.0):
        true_ns, ours_ns, naive_ns = (nearest_rank(values, percent) for values in (made, harness, naive))
        yield Line(
            f"latency p{percent:g}",
            duration(true_ns),
            duration(ours_ns),
            duration(naive_ns),
            f"{_signed(ours_ns - true_ns)} (naive {_signed(naive_ns - true_ns)}), bar ±{duration(DELAY_BAR_NS)}",
            abs(ours_ns - true_ns) <= DELAY_BAR_NS,
        )
    drawn = joined["due_ns"].to_numpy(dtype=np.int64) - joined["decided_ns"].to_numpy(dtype=np.int64)
    added = columns["arrival_ns"] - joined["decided_ns"].to_numpy(dtype=np.int64)
    yield Line(
        "delay drawn, p50 / p99",
        " / ".join(duration(nearest_rank(np.sort(drawn), p)) for p in (50.0, 99.0)),
        " / ".join(duration(nearest_rank(np.sort(added), p)) for p in (50.0, 99.0)),
        "",
        f"{len(joined):,} deliveries",
        None,
    )


def stall(truth: Truth) -> Iterator[Line]:
    """Check that no event due during a stall of the server arrived before the stall's end."""
    stalls = truth.actions[truth.actions["kind"] == "stall"]
    received = truth.received
    intended_ns = received["intended_ns"].to_numpy(dtype=np.int64)
    arrival_ns = received["arrival_ns"].to_numpy(dtype=np.int64)
    for number, (start_ns, end_ns) in enumerate(
        zip(stalls["start_ns"], stalls["end_ns"], strict=True), start=1
    ):
        due = (intended_ns >= start_ns) & (intended_ns < end_ns)
        if not due.any():
            continue
        latency_ns = arrival_ns[due] - intended_ns[due]
        owed_ns = end_ns - intended_ns[due]
        early = int(np.count_nonzero(latency_ns < owed_ns))
        excess = np.sort(latency_ns - owed_ns)
        yield Line(
            f"stall {number}: {int(due.sum()):,} deliveries due in it, max latency",
            duration(int(owed_ns.max())),
            duration(int(latency_ns.max())),
            "",
            f"{early:,} below what the stall owes; above it p50 {duration(nearest_rank(excess, 50))}",
            early == 0,
        )
    yield balance(truth)


def churn(truth: Truth) -> Iterator[Line]:
    """Check that losses by disconnects and just after a subscribe are found, each with its cause."""
    book = truth.settled.ledger
    received, written = pairs(truth.received), pairs(truth.written)
    yield Line(
        "deliveries written",
        f"{len(written):,}",
        f"{len(received):,}",
        "",
        f"{len(written - received):,} missed, {len(received - written):,} invented",
        written == received,
    )
    cut = truth.actions[truth.actions["kind"] == "disconnect"]
    yield Line(
        f"lost to {len(cut):,} disconnects",
        f"{book.expected - len(written):,}",
        f"{book.lost_in_reconnect:,} in reconnect + {book.lost_before_ready:,} before ready",
        "",
        f"{book.lost_otherwise:,} otherwise",
        len(cut) > 0 and book.lost_otherwise == 0 and book.lost + len(received) == book.expected,
    )
    withheld = pairs(truth.withheld)
    yield Line(
        "withheld after subscribe_success",
        f"{len(withheld):,}",
        f"≤ {book.lost:,} lost",
        "",
        f"{len(withheld & received):,} of them received",
        not withheld & received and len(withheld) <= book.lost,
    )
    yield balance(truth)


def rejects(truth: Truth) -> Iterator[Line]:
    """Check that the record marks as rejected exactly the events that the server rejected within accepted batches."""
    by_server = truth.events[~truth.events["accepted"].astype(bool)]
    by_harness = truth.events[truth.events["status"] == "rejected"]
    same = set(by_server["event"]) == set(by_harness["event"])
    yield Line(
        "events rejected",
        f"{len(by_server):,}",
        f"{len(by_harness):,}",
        "",
        "the same ones" if same else "others",
        same and len(by_server) > 0,
    )
    yield balance(truth)


def _by_subscription(truth: Truth, dropped: set[tuple[int, int, int]]) -> int:
    """Return the number of subscriptions for which the harness and the server's journal count different losses."""
    lost = truth.settled.breakdown.by("subscription")
    ours = lost["lost_before_ready"] + lost["lost_in_reconnect"] + lost["lost_otherwise"]
    numbers, counts = np.unique([subscription for _, _, subscription in dropped], return_counts=True)
    theirs: dict[str, int] = {str(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    return sum(int(count) != theirs.get(str(key), 0) for key, count in ours.items())


def _signed(ns: int) -> str:
    return ("+" if ns >= 0 else "−") + duration(abs(ns))


__all__ = ["DELAY_BAR_NS", "Check", "Ints", "Line", "churn", "delay", "ledger", "rejects", "stall"]
