"""The clocks of a run's workers, and the correction of the times in its tables to the master's clock."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analysis.clocks import fit as clocks
from analysis.clocks.bounds import Pings
from analysis.clocks.fit import ClockFit
from analysis.loading.columns import Ints, ints
from analysis.loading.parquet import Tables
from analysis.record import schemas

#: Columns of the clock table with times of CLOCK_MONOTONIC_RAW, in the order of `Pings`.
_STEADY_TIMES: Final = ("sent_raw_ns", "received_raw_ns", "master_raw_ns")


class WorkerClocks:
    """The clocks of one run's workers.

    ``phases`` has the start and end (ns) of each phase that began; an end is None if it was not reached.
    """

    def __init__(
        self, tables: Tables, manifest: Mapping[str, Any], phases: Mapping[str, tuple[int, int | None]]
    ) -> None:
        self._tables, self._manifest, self._phases = tables, manifest, phases

    @cached_property
    def fits(self) -> dict[int, ClockFit]:
        """Offset and error of each worker's clock, by worker."""
        names = ("worker", "sent_ns", "master_received_ns", "master_sent_ns", "received_ns")
        table = self._tables.read("clock", (*names, *_STEADY_TIMES, "bound_ns", "master_bound_ns"))
        worker, *times = (ints(table, name) for name in names)
        bounds = [ints(table, name) for name in ("bound_ns", "master_bound_ns")]
        vouched_ns = np.where((bounds[0] >= 0) & (bounds[1] >= 0), bounds[0] + bounds[1], -1)
        steady = [ints(table, name) for name in _STEADY_TIMES]
        here = self._manifest["host"].get("boot_id")
        fits = {}
        for entry in self._manifest["workers"]:
            number, same_kernel = entry["worker"], here is not None and entry.get("boot_id") == here
            its = worker == number
            if entry["id"] == "local" or (same_kernel and not its.any()):
                fits[number] = clocks.shared_clock(number)
            else:
                # A ping lacks the steady clock's times if a process could not read its wall and steady clocks together.
                # If most pings have these times, use only those pings.
                known = its & np.logical_and.reduce([values >= 0 for values in steady])
                chosen, columns = (known, [*times, *steady]) if known.sum() > its.sum() / 2 else (its, times)
                pings = Pings(*(values[chosen] for values in columns))
                fits[number] = clocks.fit(number, same_kernel, pings, self._measured_ns, vouched_ns[chosen])
        return fits

    @property
    def _measured_ns(self) -> tuple[int, int] | None:
        """Start of the measure phase and end of the drain (ns), or None if the measure phase was not reached."""
        if "measure" not in self._phases:
            return None
        ends_ns = [
            end_ns for name in ("measure", "drain") if (end_ns := self._phases.get(name, (0, None))[1])
        ]
        start_ns = self._phases["measure"][0]
        if not ends_ns:
            # The run broke off without an end on record: use the time of the last ping of all workers.
            ends_ns = [
                int(
                    ints(self._tables.read("clock", ("master_sent_ns",)), "master_sent_ns").max(
                        initial=start_ns
                    )
                )
            ]
        return start_ns, max(start_ns, *ends_ns)

    def needed(self, name: str, columns: Collection[str]) -> set[str]:
        """Return the columns that :meth:`corrected` needs in order to correct ``columns``; empty if it need not."""
        local = schemas.LOCAL_TIMES.get(name, frozenset())
        if all(fit.shared for fit in self.fits.values()) or local.isdisjoint(columns):
            return set()
        return {"worker", "publisher"} if name == "deliveries" else {"worker"}

    def corrected(self, name: str, table: pa.Table) -> pa.Table:
        """Return a table with its times on the master's clock; a time that cannot be corrected is null.

        The table must have the columns that :meth:`needed` returns for it.
        """
        by_worker = ints(table, "worker")
        for column in sorted(schemas.LOCAL_TIMES[name] & set(table.column_names)):
            worker = by_worker
            if (name, column) == ("deliveries", "sent_ns"):
                worker = self.worker_of(ints(table, "publisher"))
            missing = np.asarray(table.column(column).is_null().to_numpy(), dtype=bool) | (worker < 0)
            times_ns = ints(table, column).copy()
            for number, fit in self.fits.items():
                its = worker == number
                times_ns[its] += fit.correction_ns(times_ns[its])
            place_of = table.column_names.index(column)
            table = table.set_column(place_of, column, pa.array(times_ns, mask=missing))
        return table

    def worker_of(self, publisher: Ints) -> Ints:
        """Return the worker of each publisher, or -1 if it is not on record."""
        publishers, workers = self._worker_of_publisher
        if not len(publishers):
            return np.full(len(publisher), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(publishers, publisher), len(publishers) - 1)
        return np.where(publishers[place] == publisher, workers[place], -1)

    @cached_property
    def _worker_of_publisher(self) -> tuple[Ints, Ints]:
        """Publishers in ascending order, and the worker of each."""
        publishers, workers = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        for group in self._tables.row_groups("events"):
            table = self._tables.read_group("events", ("publisher", "worker"), group)
            # If a publisher has several rows, use the worker in the first row of the file.
            joined = np.concatenate((publishers, ints(table, "publisher")))
            worker = np.concatenate((workers, ints(table, "worker")))
            publishers, first = np.unique(joined, return_index=True)
            workers = worker[first]
        return publishers, workers
