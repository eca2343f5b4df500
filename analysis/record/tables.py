"""Check from the metadata of a record's Parquet files that they can be read safely, before reading any page.

A record from elsewhere may be damaged, have wrong columns, or unpack to more than this machine's memory. Deliveries are
read in pieces, so their row groups are checked one by one; every other table is checked as a whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import text
from analysis.record import files, schemas

_COLUMNS_MAX: Final = 200
#: Maximum number of rows in a row group. loadgen itself writes a million rows plus at most one batch.
_GROUP_ROWS_MAX: Final = 4_000_000
#: The ratio of unpacked to packed size is not limited for tables smaller than this.
_SMALL_BYTES: Final = 256 << 20
#: Maximum ratio of unpacked to packed size. loadgen's most uniform rows (due and never sent) have a ratio of 28.
_RATIO_MAX: Final = 200
#: Memory needed to read a table and compute from it, as a multiple of its size.
_COPIES: Final = 1.5
_MEMORY_SHARE: Final = 0.9


class TableError(Exception):
    """A table cannot be read; the error's text is a sentence that begins with the table's path."""


def check(folder: Path, free_bytes: int | None = None) -> None:
    """Check all tables of a run folder; ``free_bytes`` defaults to the memory available.

    Raises:
        TableError: a table is not Parquet, its columns, row groups or compression are not those of a run's table, or
            there is too little memory to read it.
    """
    free = available_bytes() if free_bytes is None else free_bytes
    whole = 0
    for name in schemas.TABLES:
        path = folder / f"{name}.parquet"
        if not path.exists() and not path.is_symlink():
            continue
        metadata = _metadata(path)
        _columns(path, name, metadata)
        decoded, largest = _decoded(metadata)
        _demand_loose(path, decoded)
        if name == "deliveries":
            _row_groups(path, metadata)
            whole += 4 * largest
        else:
            whole += decoded
    _demand_room(folder, whole, free)


def check_made(path: Path, free_bytes: int | None = None) -> None:
    """Check a table that the analysis wrote earlier and reads again to compare.

    Raises:
        TableError: the table is not Parquet, unpacks to far more than a run's table would, or there is too little
            memory to read it.
    """
    decoded, _ = _decoded(_metadata(path))
    _demand_loose(path, decoded)
    _demand_room(path, decoded, available_bytes() if free_bytes is None else free_bytes)


def _demand_loose(path: Path, decoded: int) -> None:
    """Raise TableError if a file unpacks to far more than any run's table would; ``decoded`` is in bytes."""
    packed = path.stat().st_size
    if decoded > _SMALL_BYTES and decoded > _RATIO_MAX * packed:
        raise TableError(
            f"{_named(path)} unpacks to {_size(decoded)} from {_size(packed)}: no run packs so tightly"
        )


def _demand_room(path: Path, decoded: int, free: int | None) -> None:
    """Raise TableError if ``decoded`` bytes do not fit the ``free`` memory (bytes, or None if it is not known)."""
    needed = int(_COPIES * decoded)
    if free is not None and needed > _MEMORY_SHARE * free:
        raise TableError(
            f"{_named(path)} needs about {_size(needed)} of memory to be read, and {_size(free)} are free: read it"
            " on a larger machine"
        )


def available_bytes() -> int | None:
    """Return the free memory of the machine or of the container, whichever is less, in bytes, or None if unknown."""
    found = [value for value in (_meminfo(), _group_free()) if value is not None]
    return min(found) if found else None


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _group_free() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        return int((root / "memory.max").read_text()) - int((root / "memory.current").read_text())
    except (OSError, ValueError):
        # memory.max holds the word "max" if there is no limit.
        return None


def _metadata(path: Path) -> pq.FileMetaData:
    if (found := files.trouble(path)) is not None:
        raise TableError(f"{_named(path)} {found}")
    try:
        metadata = pq.read_metadata(path)
        _ = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise TableError(f"{_named(path)} cannot be read as Parquet: {_words(error)}") from None
    return metadata


def _columns(path: Path, name: str, metadata: pq.FileMetaData) -> None:
    schema = metadata.schema.to_arrow_schema()
    if len(schema) > _COLUMNS_MAX or metadata.num_columns != len(schema):
        raise TableError(f"{_named(path)} has columns that no run's table has")
    for kind, names, fits in (
        ("whole numbers", schemas.integers(name), pa.types.is_integer),
        ("text", schemas.texts(name), _is_text),
        ("true or false", schemas.flags(name), pa.types.is_boolean),
    ):
        for column in names:
            places = schema.get_all_field_indices(column)
            if len(places) > 1:
                raise TableError(f"{_named(path)} has the column {column} twice")
            for place in places:
                found = schema.field(place).type
                if not fits(found) and not pa.types.is_null(found):
                    raise TableError(
                        f"{_named(path)}: the column {column} holds {text.clean(found)} where {kind} belong"
                    )


def _is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _decoded(metadata: pq.FileMetaData) -> tuple[int, int]:
    """Return the bytes that a table and its largest row group take in memory.

    Counts 8 bytes for each value (for a text, its dictionary index), and at least the size that the file states.
    """
    total = largest = 0
    for number, size in _groups(metadata):
        decoded = max(8 * number * metadata.num_columns, size)
        total, largest = total + decoded, max(largest, decoded)
    return total, largest


def _groups(metadata: pq.FileMetaData) -> Iterator[tuple[int, int]]:
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        yield group.num_rows, group.total_byte_size


def _row_groups(path: Path, metadata: pq.FileMetaData) -> None:
    most = max((rows for rows, _ in _groups(metadata)), default=0)
    if most > _GROUP_ROWS_MAX:
        raise TableError(
            f"{_named(path)} has {most:,} rows in one row group, which can only be read at once: a run writes"
            " a million"
        )


def _named(path: Path) -> str:
    return text.clean(path)


def _words(error: Any) -> str:
    return text.clean(" ".join(str(error).split()))


def _size(value: float) -> str:
    return f"{value / 2**30:,.1f} GiB" if value >= 2**30 else f"{value / 2**20:,.1f} MiB"
