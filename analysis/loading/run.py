"""Read a run folder as tidy tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import extras
from analysis.clocks.fit import ClockFit
from analysis.loading.clocks import WorkerClocks
from analysis.loading.columns import Ints, codes, ints
from analysis.loading.parquet import (
    ReadError,
    RowGroup,
    Tables,
    Window,
    inside,
    opened,
    row_groups,
    unreadable,
    whole,
)
from analysis.record import home, manifest, tables
from analysis.record.home import AwayError
from analysis.record.manifest import ManifestError
from analysis.record.tables import TableError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "Ints", "RowGroup", "Run", "ReadError", "Window", "codes", "ints", "load"]

#: Record formats that this version reads; columns that an older one lacks are null (see results/README.md).
FORMATS = (2, 3)


@dataclass(eq=False)
class Run:
    """One run. Tables are read from Parquet on first access; a missing file gives an empty table."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)
    #: Temporary folder with the tables, if the record's rows are not in the run's folder.
    _borrowed: "TemporaryDirectory[str] | None" = field(default=None, repr=False)

    @property
    def tables_path(self) -> Path:
        """Folder with the tables that the run recorded; the analysis writes its own to `path`."""
        return self.path if self._borrowed is None else Path(self._borrowed.name)

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self.tables_path)

    @cached_property
    def deliveries(self) -> "pd.DataFrame":
        """One row for each delivery, of all phases."""
        return self._frame("deliveries")

    @cached_property
    def events(self) -> "pd.DataFrame":
        """One row for each scheduled event, from all phases."""
        return self._frame("events")

    @cached_property
    def subscriptions(self) -> "pd.DataFrame":
        """One row for each life of a subscription; each reconnect begins a new life."""
        return self._frame("subscriptions")

    @cached_property
    def connections(self) -> "pd.DataFrame":
        """One row for each life of a client's connection; each reconnect begins a new life."""
        return self._frame("connections")

    @cached_property
    def health(self) -> "pd.DataFrame":
        """One row for each worker and second."""
        return self._frame("health")

    @property
    def phases(self) -> dict[str, tuple[int, int | None]]:
        """Start and end in ns of each phase that began; the end is None if it was not reached."""
        return {phase["name"]: (phase["start_ns"], phase["end_ns"]) for phase in self.manifest["phases"]}

    @property
    def measure(self) -> Window | None:
        """The measure phase as far as it got, or None if it was not reached.

        If the run broke off before it recorded the end of the phase, the time of the last health row is used instead.
        """
        if "measure" not in self.phases:
            return None
        start_ns, end_ns = self.phases["measure"]
        if end_ns is None:
            end_ns = int(self.health["time_ns"].max()) if len(self.health) else start_ns
        return Window(start_ns, max(start_ns, end_ns))

    @property
    def first_publish_ns(self) -> int:
        """Start of the warm-up in ns, from which the seconds of a run are counted.

        If the phases last whole seconds, no second counted in this way lies in two phases. Without a warm-up, this is
        the start of the measure phase; without either, the run's creation.
        """
        for name in ("warmup", "measure"):
            if name in self.phases:
                return self.phases[name][0]
        created: int = self.manifest["created_ns"]
        return created

    @property
    def late_after_ns(self) -> int | None:
        """Time (ns) after the intended time beyond which a delivery is late, or None if no delivery counts as late."""
        late_after_ns: int | None = self.manifest.get("late_after_ns")
        return late_after_ns

    @property
    def checks_content(self) -> bool:
        """True if the run compared the content of each delivery with what was sent, and the record has the result."""
        wanted = self.manifest["scenario"].get("integrity") is True
        return wanted and (self.tables_path / "altered.parquet").exists()

    @cached_property
    def broken_off_ns(self) -> dict[int, int]:
        """Time (ns) at which a worker's record ends, for each worker that did not deliver its whole record."""
        ends_ns = {}
        health = self.table("health", ("worker", "time_ns"))
        worker, time_ns = ints(health, "worker"), ints(health, "time_ns")
        for entry in self.manifest["workers"]:
            if not entry["finished"]:
                its = time_ns[worker == entry["worker"]]
                ends_ns[entry["worker"]] = int(its.max()) if len(its) else 0
        return ends_ns

    @cached_property
    def _worker_clocks(self) -> WorkerClocks:
        return WorkerClocks(self._tables, self.manifest, self.phases)

    @cached_property
    def clocks(self) -> dict[int, ClockFit]:
        """Offset and error of each worker's clock, by worker."""
        return self._worker_clocks.fits

    def worker_of(self, publisher: Ints) -> Ints:
        """Return the number of each publisher's worker, or -1 for a publisher whose worker is not on record."""
        return self._worker_clocks.worker_of(publisher)

    def table(self, name: str, columns: Sequence[str], window: Window | None = None) -> pa.Table:
        """Read columns of a table, restricted to rows whose ``intended_ns`` lies in ``window`` if it is given.

        Times are on the master's clock: times of workers with their own clock are corrected. A time that cannot be
        corrected is null, such as the sending time of a publisher that is not on record.

        Raises:
            ReadError: the file is damaged, or lacks a column that every format has.
        """
        needed = self._worker_clocks.needed(name, columns)
        table = self._tables.read(name, sorted({*columns, *needed}) if needed else columns, window)
        return self._worker_clocks.corrected(name, table).select(list(columns)) if needed else table

    @cached_property
    def _deliveries_metadata(self) -> pq.FileMetaData:
        path = self.tables_path / "deliveries.parquet"
        try:
            return pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None

    @cached_property
    def row_groups(self) -> list[RowGroup]:
        """Row groups of the deliveries, in the file's order, without empty ones."""
        if not (self.tables_path / "deliveries.parquet").exists():
            return []
        return row_groups(self._deliveries_metadata)

    @cached_property
    def event_groups(self) -> list[RowGroup]:
        """Row groups of the events, in the file's order, without empty ones."""
        return self._tables.row_groups("events")

    def events_of(self, columns: Sequence[str], group: RowGroup, window: Window) -> pa.Table:
        """Read columns of the events of a row group whose intended time is in a window.

        ``columns`` must be columns that every version of the record has. They must not be times from workers' clocks,
        because this method does not correct clock errors.
        """
        return inside(self._tables.read_group("events", (*columns, "intended_ns"), group), window)

    def lacks(self, column: str) -> bool:
        """Return True if no event has a value in a column, according to the file's statistics."""
        return self._tables.all_null("events", column)

    @cached_property
    def uncertain_arrivals(self) -> bool | None:
        """True if some deliveries' arrival is known only as an interval, or None if the run's record does not say."""
        if not self.row_groups:
            return False
        metadata = self._deliveries_metadata
        names = metadata.schema.names
        if "uncertain_ns" not in names:
            return None
        column = names.index("uncertain_ns")
        known = [metadata.row_group(group.number).column(column).statistics for group in self.row_groups]
        return not all(each is not None and each.has_min_max and each.max == 0 for each in known)

    def deliveries_in(
        self, columns: Sequence[str], window: Window | None = None, group: RowGroup | None = None
    ) -> tuple[Ints, pa.Table]:
        """Read the deliveries of a window or a row group; return (each row's position in the file, the columns).

        The columns are as `table` returns them. Within one subscription on one worker, file order is the order of
        receipt.
        """
        groups = self.row_groups if group is None else [group]
        if window is not None:
            groups = [g for g in groups if g.overlaps(window)]
        if not groups:
            return np.empty(0, dtype=np.int64), self._tables.read("none", columns)
        names = {*columns, "intended_ns"}
        needed = self._worker_clocks.needed("deliveries", names)
        names |= needed
        path = self.tables_path / "deliveries.parquet"
        try:
            file = pq.ParquetFile(path, metadata=self._deliveries_metadata)
            # No threads here: callers that read the deliveries piece by piece have threads of their own.
            table = file.read_row_groups([g.number for g in groups], columns=sorted(names), use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None
        rows = np.concatenate([np.arange(g.first_row, g.first_row + g.rows) for g in groups])
        if window is not None:
            intended_ns = ints(table, "intended_ns")
            inside = (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
            if not inside.all():
                table, rows = table.filter(pa.array(inside)), rows[inside]
        if needed:
            table = self._worker_clocks.corrected("deliveries", table)
        return rows, table.select(list(columns))

    def _frame(self, name: str) -> "pd.DataFrame":
        extras.require("pandas", "a table as DataFrame")
        import pandas as pd

        path = self.tables_path / f"{name}.parquet"
        if not path.exists():
            return pd.DataFrame()
        # Nullable integers: NaN would force floats, which cannot hold nanoseconds since the epoch exactly.
        nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        try:
            table = whole(opened(path, name))
            if self._worker_clocks.needed(name, table.column_names):
                table = self._worker_clocks.corrected(name, table)
            frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
            return frame
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None


def load(path: str | Path, parts_from: Sequence[str] = ()) -> Run:
    """Open a run folder.

    If the run's workers stored its rows elsewhere, they are copied to a temporary folder, which goes with the last
    reference to the returned object. They are read only from places in ``parts_from`` or the environment variable
    `LOADGEN_PARTS_FROM`.

    Raises:
        ReadError: the folder is not a run, a file in it is damaged, this version does not read its format, or its rows
            cannot be read from where they are.
    """
    folder = Path(path)
    try:
        found = manifest.read(folder, FORMATS)
        parts = home.away(folder, found)
        borrowed = None if parts is None else home.borrowed(folder, parts, parts_from)
        tables.check(folder if borrowed is None else Path(borrowed.name))
    except ManifestError as error:
        raise ReadError(f"{folder} {error}") from None
    except (TableError, AwayError) as error:
        raise ReadError(str(error)) from None
    return Run(folder, found, borrowed)
