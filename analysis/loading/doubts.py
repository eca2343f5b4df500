"""Bound the error of each delivery's arrival and of the latencies computed from it.

A delivery arrived at most `uncertain_ns` before its recorded arrival: several messages may share one kernel stamp,
which is that of the last (see docs/concepts/timestamps.md). It cannot have arrived before it was sent.

Clock errors add to this. A latency from the schedule, which is on the master's clock, has the error of the receiver's
clock. A latency from sending has the errors of the sender's and the receiver's clocks, unless one worker did both.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.loading.run import Ints, Run


class Off(NamedTuple):
    """Bounds (ns) on the errors of samples: a true value is at most ``early_ns`` lower and ``late_ns`` higher.

    None means zero.
    """

    early_ns: Ints | None
    late_ns: Ints | None

    def only(self, chosen: Any) -> "Off":
        """Return the bounds of the chosen samples."""
        return Off(*(None if each is None else each[chosen] for each in self))


class Doubts:
    """Error bounds of all deliveries of a run; safe to use from several threads."""

    def __init__(self, run: Run) -> None:
        self._run = run
        fits = run.clocks.values()
        #: True if every clock's error is known; otherwise no sample gets error bounds.
        self.known = all(fit.error_ns is not None for fit in fits)
        self._clocks = self.known and any(fit.error_ns for fit in fits)
        self._stamps = run.uncertain_arrivals is True
        #: Delivery columns needed to compute the error bounds; empty if no delivery has an error.
        self.columns: tuple[str, ...] = ()
        if self._stamps:
            self.columns += ("uncertain_ns",)
        if self._clocks:
            self.columns += ("worker", "publisher")
        if self.columns:
            self.columns += ("arrival_ns", "sent_ns")

    def of(self, at: Mapping[str, Ints]) -> "OffBy":
        """Return bounds on the measurement errors of deliveries, given the arrays of `columns` by name."""
        if not self.columns:
            return OffBy(None, None, None)
        uncertain = receiver = both = None
        if self._clocks:
            receiver = self._errors_ns(at["worker"], at["arrival_ns"])
            worker = self._run.worker_of(at["publisher"])
            sender = self._errors_ns(worker, at["sent_ns"])
            both = np.where(worker == at["worker"], 0, sender + receiver)
        if self._stamps:
            took_ns = at["arrival_ns"] - at["sent_ns"]
            if both is not None:
                took_ns = took_ns + both
            most_ns = np.where(at["sent_ns"] >= 0, np.maximum(took_ns, 0), np.iinfo(np.int64).max)
            uncertain = np.clip(at["uncertain_ns"], 0, most_ns)
        return OffBy(uncertain, receiver, both)

    def _errors_ns(self, worker: Ints, time_ns: Ints) -> Ints:
        errors = np.zeros(len(worker), dtype=np.int64)
        for number, fit in self._run.clocks.items():
            if fit.error_ns:
                its = worker == number
                errors[its] = fit.error_ns_at(time_ns[its])
        return errors


class OffBy:
    """Bounds on the measurement errors of deliveries: one pair `Off` for each kind of latency."""

    def __init__(self, uncertain_ns: Ints | None, receiver_ns: Ints | None, both_ns: Ints | None) -> None:
        self._uncertain_ns, self._receiver_ns, self._both_ns = uncertain_ns, receiver_ns, both_ns

    @property
    def headline(self) -> Off:
        """Bounds on the measurement error of the latency from the intended time to the arrival."""
        return Off(_sum(self._uncertain_ns, self._receiver_ns), self._receiver_ns)

    @property
    def service(self) -> Off:
        """Bounds on the measurement error of the latency from sending to arrival."""
        return Off(_sum(self._uncertain_ns, self._both_ns), self._both_ns)

    @property
    def queue(self) -> Off:
        """Bounds on the measurement error of the time from arrival to read; both times are of one clock."""
        return Off(None, self._uncertain_ns)

    @property
    def inexact(self) -> npt.NDArray[np.bool_] | None:
        """Mask of the arrivals that are known only as intervals, or None if all are exact."""
        return None if self._uncertain_ns is None else self._uncertain_ns > 0


def _sum(one: Ints | None, other: Ints | None) -> Ints | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
