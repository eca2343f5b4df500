"""Read a run folder as tidy tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.clocks import fit as clocks
from analysis.clocks.bounds import Pings
from analysis.clocks.fit import ClockFit
from analysis.record import manifest, schemas, tables
from analysis.record.manifest import ManifestError
from analysis.record.tables import TableError

if TYPE_CHECKING:
    import pandas as pd

#: Record formats that this version reads; columns that an older one lacks are null (see results/README.md).
FORMATS = (2, 3)
#: Times of CLOCK_MONOTONIC_RAW in the clock table, in the order of `Pings`.
_STEADY_TIMES = ("sent_raw_ns", "received_raw_ns", "master_raw_ns")
_MANY_ROWS = 100_000
#: Tables of up to this many rows are read once and kept, because dozens of figures use each of them.
_FEW_ROWS = 20_000
Ints = npt.NDArray[np.int64]


class RunError(Exception):
    """The folder is not a readable run; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval of wall-clock nanoseconds."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of deliveries.parquet: its number and rows, and the half-open range of intended times in ns."""

    number: int
    first_row: int
    rows: int
    start_ns: int
    end_ns: int

    def overlaps(self, window: Window) -> bool:
        """Return True if some of its rows may lie in the window."""
        return self.start_ns < window.end_ns and self.end_ns > window.start_ns


@dataclass(eq=False)
class Run:
    """One run. Tables are read from Parquet on first access; a missing file gives an empty table."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)
    _kept: dict[str, pa.Table] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def deliveries(self) -> "pd.DataFrame":
        """One row for each delivery, of all phases."""
        return self._frame("deliveries")

    @cached_property
    def events(self) -> "pd.DataFrame":
        """One row for each event that was due, of all phases."""
        return self._frame("events")

    @cached_property
    def subscriptions(self) -> "pd.DataFrame":
        """One row for each life of a subscription."""
        return self._frame("subscriptions")

    @cached_property
    def connections(self) -> "pd.DataFrame":
        """One row for each life of a connection."""
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

        If the run broke off without recording the end, the last health row marks it.
        """
        if "measure" not in self.phases:
            return None
        start_ns, end_ns = self.phases["measure"]
        if end_ns is None:
            end_ns = int(self.health["time_ns"].max()) if len(self.health) else start_ns
        return Window(start_ns, max(start_ns, end_ns))

    @property
    def first_publish_ns(self) -> int:
        """Start of the warm-up in ns. Seconds are counted from it, so that no second straddles phases of whole seconds.

        Falls back to the start of the measure phase, then to the run's creation.
        """
        for name in ("warmup", "measure"):
            if name in self.phases:
                return self.phases[name][0]
        created: int = self.manifest["created_ns"]
        return created

    @property
    def late_after_ns(self) -> int | None:
        """Nanoseconds after its intended time from which a delivery counts as late, or None if none does."""
        late_after_ns: int | None = self.manifest.get("late_after_ns")
        return late_after_ns

    @property
    def checks_content(self) -> bool:
        """True if the run compared the content of each delivery with what was sent, and the record has the result."""
        wanted = self.manifest["scenario"].get("integrity") is True
        return wanted and (self.path / "altered.parquet").exists()

    @cached_property
    def broken_off_ns(self) -> dict[int, int]:
        """End of the record in ns, by worker, for the workers that did not deliver it completely."""
        ends_ns = {}
        health = self.table("health", ("worker", "time_ns"))
        worker, time_ns = ints(health, "worker"), ints(health, "time_ns")
        for entry in self.manifest["workers"]:
            if not entry["finished"]:
                its = time_ns[worker == entry["worker"]]
                ends_ns[entry["worker"]] = int(its.max()) if len(its) else 0
        return ends_ns

    @cached_property
    def clocks(self) -> dict[int, ClockFit]:
        """Offset and error of each worker's clock, by worker."""
        names = ("worker", "sent_ns", "master_received_ns", "master_sent_ns", "received_ns")
        table = self._read("clock", (*names, *_STEADY_TIMES, "bound_ns", "master_bound_ns"))
        worker, *times = (ints(table, name) for name in names)
        bounds = [ints(table, name) for name in ("bound_ns", "master_bound_ns")]
        vouched_ns = np.where((bounds[0] >= 0) & (bounds[1] >= 0), bounds[0] + bounds[1], -1)
        steady = [ints(table, name) for name in _STEADY_TIMES]
        here = self.manifest["host"].get("boot_id")
        fits = {}
        for entry in self.manifest["workers"]:
            number, same_kernel = entry["worker"], here is not None and entry.get("boot_id") == here
            its = worker == number
            if entry["id"] == "local" or (same_kernel and not its.any()):
                fits[number] = clocks.shared_clock(number)
            else:
                # A process sometimes could not read its clocks together; if most pings have steady times, use only
                # those.
                known = its & np.logical_and.reduce([values >= 0 for values in steady])
                chosen, columns = (known, [*times, *steady]) if known.sum() > its.sum() / 2 else (its, times)
                pings = Pings(*(values[chosen] for values in columns))
                fits[number] = clocks.fit(number, same_kernel, pings, self._measured_ns, vouched_ns[chosen])
        return fits

    @property
    def _measured_ns(self) -> tuple[int, int] | None:
        """Start of the measure phase and the time (ns) up to which its events arrive, or None if it was not reached."""
        if "measure" not in self.phases:
            return None
        ends_ns = [end_ns for name in ("measure", "drain") if (end_ns := self.phases.get(name, (0, None))[1])]
        start_ns = self.phases["measure"][0]
        if not ends_ns:
            # The run broke off: use the last ping of any worker.
            ends_ns = [
                int(ints(self._read("clock", ("master_sent_ns",)), "master_sent_ns").max(initial=start_ns))
            ]
        return start_ns, max(start_ns, *ends_ns)

    @cached_property
    def _worker_of_publisher(self) -> tuple[Ints, Ints]:
        """Publishers in ascending order, and the worker of each."""
        table = self._read("events", ("publisher", "worker"))
        publishers, first = np.unique(ints(table, "publisher"), return_index=True)
        return publishers, ints(table, "worker")[first]

    def table(self, name: str, columns: Sequence[str], window: Window | None = None) -> pa.Table:
        """Read columns of a table, restricted to rows whose ``intended_ns`` lies in ``window`` if it is given.

        Times are on the master's clock: times of workers with their own clock are corrected. A time that cannot be
        corrected is null, such as the sending time of a publisher that is not on record.
        """
        if all(fit.shared for fit in self.clocks.values()) or not set(columns) & schemas.LOCAL_TIMES.get(
            name, set()
        ):
            return self._read(name, columns, window)
        more = {"worker", "publisher"} if name == "deliveries" else {"worker"}
        return self._corrected(name, self._read(name, sorted({*columns, *more}), window)).select(
            list(columns)
        )

    @cached_property
    def _deliveries_metadata(self) -> pq.FileMetaData:
        path = self.path / "deliveries.parquet"
        try:
            return pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from None

    @cached_property
    def row_groups(self) -> list[RowGroup]:
        """Row groups of the deliveries that have rows, in the file's order."""
        if not (self.path / "deliveries.parquet").exists():
            return []
        return _row_groups(self._deliveries_metadata)

    @cached_property
    def uncertain_arrivals(self) -> bool | None:
        """True if some deliveries' arrival is known as an interval only, or None if the record does not say."""
        if not self.row_groups:
            return False
        metadata = self._deliveries_metadata
        names = metadata.schema.names
        if "uncertain_ns" not in names:
            return None
        column = names.index("uncertain_ns")
        known = [metadata.row_group(group.number).column(column).statistics for group in self.row_groups]
        return not all(each is not None and each.has_min_max and each.max == 0 for each in known)

    def worker_of(self, publisher: Ints) -> Ints:
        """Return the worker of each publisher, or -1 if it is not on record."""
        publishers, workers = self._worker_of_publisher
        if not len(publishers):
            return np.full(len(publisher), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(publishers, publisher), len(publishers) - 1)
        return np.where(publishers[place] == publisher, workers[place], -1)

    def deliveries_in(
        self, columns: Sequence[str], window: Window | None = None, group: RowGroup | None = None
    ) -> tuple[Ints, pa.Table]:
        """Read the deliveries of a window or a row group; return each row's position in the file, and the columns.

        The columns are as `table` returns them. Within one subscription on one worker, file order is the order of
        receipt.
        """
        groups = self.row_groups if group is None else [group]
        if window is not None:
            groups = [g for g in groups if g.overlaps(window)]
        if not groups:
            return np.empty(0, dtype=np.int64), self._read("none", columns)
        names = {*columns, "intended_ns"}
        raw = all(fit.shared for fit in self.clocks.values()) or not names & schemas.LOCAL_TIMES["deliveries"]
        if not raw:
            names |= {"worker", "publisher"}
        path = self.path / "deliveries.parquet"
        try:
            file = pq.ParquetFile(path, metadata=self._deliveries_metadata)
            # No threads here: callers that read slices have threads of their own.
            table = file.read_row_groups([g.number for g in groups], columns=sorted(names), use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from None
        rows = np.concatenate([np.arange(g.first_row, g.first_row + g.rows) for g in groups])
        if window is not None:
            intended_ns = ints(table, "intended_ns")
            inside = (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
            if not inside.all():
                table, rows = table.filter(pa.array(inside)), rows[inside]
        if not raw:
            table = self._corrected("deliveries", table)
        return rows, table.select(list(columns))

    def _corrected(self, name: str, table: pa.Table) -> pa.Table:
        by_worker = ints(table, "worker")
        for column in sorted(schemas.LOCAL_TIMES[name] & set(table.column_names)):
            worker = by_worker
            if (name, column) == ("deliveries", "sent_ns"):
                worker = self.worker_of(ints(table, "publisher"))
            missing = np.asarray(table.column(column).is_null().to_numpy(), dtype=bool) | (worker < 0)
            times_ns = ints(table, column).copy()
            for number, fit in self.clocks.items():
                its = worker == number
                times_ns[its] += fit.correction_ns(times_ns[its])
            place_of = table.column_names.index(column)
            table = table.set_column(place_of, column, pa.array(times_ns, mask=missing))
        return table

    def _read(self, name: str, columns: Sequence[str], window: Window | None = None) -> pa.Table:
        path = self.path / f"{name}.parquet"
        if not path.exists():
            return pa.table({column: pa.array([], type=pa.int64()) for column in columns})
        later = schemas.later_types(name) if name in schemas.SCHEMAS else {}
        try:
            if name not in self._kept and (file := _opened(path, name)).metadata.num_rows <= _FEW_ROWS:
                known = schemas.columns(name)
                self._kept[name] = _whole(file, [each for each in file.schema.names if each in known])
            kept = self._kept.get(name)
            names = set(file.schema.names if kept is None else kept.column_names)
            missing = (set(columns) & set(later)) - names
            there = [column for column in columns if column not in missing]
            for column in there if window is None else [*there, "intended_ns"]:
                if column not in names:
                    raise pa.ArrowInvalid(f"it has no column {column}")
            if kept is not None:
                table = (kept if window is None else _inside(kept, window)).select(there)
            else:
                table = _whole(file, there) if window is None else _within(file, there, window)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from None
        for column in sorted(missing):
            table = table.append_column(column, pa.nulls(len(table), later[column]))
        return table.select(list(columns))

    def _frame(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        path = self.path / f"{name}.parquet"
        if not path.exists():
            return pd.DataFrame()
        # Nullable integers: NaN would force floats, which cannot hold nanoseconds since the epoch exactly.
        nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        try:
            table = _whole(_opened(path, name))
            if not all(fit.shared for fit in self.clocks.values()) and name in schemas.LOCAL_TIMES:
                table = self._corrected(name, table)
            frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
            return frame
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from None


def _opened(path: Path, name: str) -> pq.ParquetFile:
    """Open a table with its text columns dictionary-encoded, so that each text is kept once."""
    metadata = pq.read_metadata(path)
    texts = [column for column in schemas.texts(name) if column in metadata.schema.names]
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=texts)


def _whole(file: pq.ParquetFile, columns: list[str] | None = None) -> pa.Table:
    """Read columns of all rows, without threads if there are few: they would cost more than they save."""
    return file.read(columns=columns, use_threads=file.metadata.num_rows > _MANY_ROWS)


def _within(file: pq.ParquetFile, columns: list[str], window: Window) -> pa.Table:
    """Read the rows whose ``intended_ns`` lies in a window, skipping row groups without any."""
    table = file.read_row_groups(
        [group.number for group in _row_groups(file.metadata) if group.overlaps(window)],
        columns=[*dict.fromkeys((*columns, "intended_ns"))],
        use_threads=file.metadata.num_rows > _MANY_ROWS,
    )
    return _inside(table, window).select(columns)


def _row_groups(metadata: pq.FileMetaData) -> list[RowGroup]:
    """Return the row groups of a table that have rows, with the range of their ``intended_ns`` (all, if unknown)."""
    column = metadata.schema.names.index("intended_ns")
    groups, first_row = [], 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        known = group.column(column).statistics
        if group.num_rows:
            bounded = known is not None and known.has_min_max
            low, high = (known.min, known.max) if bounded else (0, np.iinfo(np.int64).max - 1)
            groups.append(RowGroup(number, first_row, group.num_rows, int(low), int(high) + 1))
        first_row += group.num_rows
    return groups


def _inside(table: pa.Table, window: Window) -> pa.Table:
    """Return the rows whose ``intended_ns`` is known and lies in a window."""
    intended_ns = table.column("intended_ns")
    inside = pc.and_(pc.greater_equal(intended_ns, window.start_ns), pc.less(intended_ns, window.end_ns))
    return table.filter(inside)


def _unreadable(path: Path, error: Exception) -> RunError:
    # pyarrow's message may span several lines.
    return RunError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}")


def load(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: the folder is not a run, a file in it is damaged, or this version does not read its format.
    """
    folder = Path(path)
    try:
        found = manifest.read(folder, FORMATS)
        tables.check(folder)
    except ManifestError as error:
        raise RunError(f"{folder} {error}") from None
    except TableError as error:
        raise RunError(str(error)) from None
    return Run(folder, found)


def ints(table: pa.Table, column: str, missing: int = -1) -> Ints:
    """Return an integer column as int64, with ``missing`` in place of null."""
    values = table.column(column)
    if values.type != pa.int64():
        values = values.cast(pa.int64())
    if values.null_count:
        values = pc.fill_null(values, missing)
    return np.asarray(values.to_numpy(), dtype=np.int64)


def codes(table: pa.Table, column: str) -> tuple[Ints, list[str | None]]:
    """Return a text column as (code of each row, text of each code); null has its own code, with the text None."""
    values = table.column(column)
    if pa.types.is_dictionary(values.type):
        return _codes_of_dictionary(values)
    encoded = pc.dictionary_encode(values.cast(pa.string()), null_encoding="encode")
    chunk = encoded.combine_chunks()
    if isinstance(chunk, pa.ChunkedArray):
        chunk = chunk.chunk(0) if chunk.num_chunks else pa.array([], pa.string()).dictionary_encode()
    return np.asarray(
        chunk.indices.to_numpy(zero_copy_only=False), dtype=np.int64
    ), chunk.dictionary.to_pylist()


def _codes_of_dictionary(values: pa.ChunkedArray) -> tuple[Ints, list[str | None]]:
    """Return the codes of a dictionary column without expanding its texts, which may be long."""
    unified = values.unify_dictionaries()
    if not unified.num_chunks:
        return np.empty(0, dtype=np.int64), []
    texts = unified.chunk(0).dictionary
    numbers = pa.chunked_array([chunk.indices for chunk in unified.chunks])
    # Codes count in order of first appearance and leave out unused texts.
    encoded = pc.dictionary_encode(numbers, null_encoding="encode").combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    named = [None if number is None else texts[number].as_py() for number in encoded.dictionary.to_pylist()]
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64), named


def taken(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a mask of the events that should arrive: `accepted`, or `sent` to a service that acknowledges no publish.

    For the latter it is not known if the service accepted them (see :func:`unanswering`).
    """
    status, names = codes(table, "status")
    return np.isin(status, [names.index(name) for name in ("accepted", "sent") if name in names])


def unanswering(table: pa.Table) -> bool:
    """Return True if the service acknowledges no publish, so that the number of accepted events is not known."""
    return "sent" in codes(table, "status")[1]


def target_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's target as `protocol`, `service`, `url`, `embedded`, `loopback`, `setup` and `proxies`.

    `proxies` lists the proxies that the master or a worker used, or is None if they were not recorded. Records from
    before other protocols were supported are of AppSync Events.
    """
    target = manifest["target"]
    embedded = bool(target["embedded"])
    return {
        "protocol": target.get("protocol", "appsync-events"),
        "service": target.get("service", "AWS AppSync Events"),
        "url": target.get("url") or target.get("http_url") or "",
        "embedded": embedded,
        "loopback": bool(target.get("loopback", embedded)),
        "setup": dict(target.get("setup", {})),
        "proxies": _proxies(manifest),
    }


def _proxies(manifest: Mapping[str, Any]) -> list[str] | None:
    """Return the master's proxies and those that workers found in their environments, or None if none were recorded."""
    told = [
        manifest["target"].get("proxies"),
        *(worker.get("proxies") for worker in manifest.get("workers", ())),
    ]
    known = [routed for routed in told if routed is not None]
    if not known:
        return None
    return sorted({f"{each['address']} ({each['variable']})" for routed in known for each in routed})
