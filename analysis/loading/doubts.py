"""By how much the arrival of each delivery, and what is computed from it, may be off.

A delivery arrived within [arrival − uncertain, arrival] on its worker's clock: several messages may share one kernel
stamp, which is that of the last (see docs/concepts/timestamps.md). It did not arrive before it was sent. To this comes
what is not known of the clocks: of the receiver's for times from the schedule (the master's), of the sender's and the
receiver's for times from the sending, unless both are the same.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.loading.run import Ints, Run


class Off(NamedTuple):
    """By how much each true value may be smaller and greater than the sample (ns); None: by nothing."""

    early_ns: Ints | None
    late_ns: Ints | None

    def only(self, chosen: Any) -> "Off":
        """Return those of the chosen samples."""
        return Off(*(None if each is None else each[chosen] for each in self))


class Doubts:
    """What is known of all deliveries of a run; may be used by several threads."""

    def __init__(self, run: Run) -> None:
        self._run = run
        fits = run.clocks.values()
        #: Whether the error of every clock is known: else no sample has an interval.
        self.known = all(fit.error_ns is not None for fit in fits)
        self._clocks = self.known and any(fit.error_ns for fit in fits)
        self._stamps = run.uncertain_arrivals is True
        #: Columns of the deliveries without which nothing can be said; none where all is exact.
        self.columns: tuple[str, ...] = ()
        if self._stamps:
            self.columns += ("uncertain_ns",)
        if self._clocks:
            self.columns += ("worker", "publisher")
        if self.columns:
            self.columns += ("arrival_ns", "sent_ns")

    def of(self, at: Mapping[str, Ints]) -> "OffBy":
        """Return what is known of deliveries, given the columns."""
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
    """By how much deliveries are off, by kind of latency."""

    def __init__(self, uncertain_ns: Ints | None, receiver_ns: Ints | None, both_ns: Ints | None) -> None:
        self._uncertain_ns, self._receiver_ns, self._both_ns = uncertain_ns, receiver_ns, both_ns

    @property
    def headline(self) -> Off:
        """From the schedule to the arrival."""
        return Off(_sum(self._uncertain_ns, self._receiver_ns), self._receiver_ns)

    @property
    def service(self) -> Off:
        """From the sending to the arrival."""
        return Off(_sum(self._uncertain_ns, self._both_ns), self._both_ns)

    @property
    def queue(self) -> Off:
        """From the arrival to the read, of one clock."""
        return Off(None, self._uncertain_ns)

    @property
    def inexact(self) -> npt.NDArray[np.bool_] | None:
        """Which arrivals are known as an interval only; None: none."""
        return None if self._uncertain_ns is None else self._uncertain_ns > 0


def _sum(one: Ints | None, other: Ints | None) -> Ints | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
