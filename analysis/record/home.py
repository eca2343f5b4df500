"""Bring a record's rows from the place where workers stored them to this machine, for a while or for good."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow as pa

from analysis import text
from analysis.record import making, parts, places
from analysis.record.parts import Parts, StoredRun
from analysis.record.storage import Storage, StorageError


class AwayError(Exception):
    """A record's rows are in a place from which they could not be read; the text is one sentence."""


def parts_of(folder: Path, manifest: Any) -> Parts | None:
    """Return the `parts` of a run folder's manifest, or None if its workers stored no rows elsewhere.

    Raises:
        AwayError: the `parts` are not valid.
    """
    found = manifest.get("parts") if isinstance(manifest, dict) else None
    try:
        return None if found is None else msgspec.convert(found, Parts)
    except ValueError as error:
        raise AwayError(
            f"{folder} holds a damaged record: manifest.json: parts: {text.clean(error)}"
        ) from None


def away(folder: Path, manifest: Any) -> Parts | None:
    """Return where a record's rows are, or None if they are in the run's folder; raises AwayError as `parts_of`."""
    found = parts_of(folder, manifest)
    return found if found is not None and found.away else None


def storage_of(folder: Path, found: Parts, named: Sequence[str] = ()) -> Storage:
    """Return the storage with a run's rows.

    ``named`` are places that the user has named, in addition to those in the environment.

    Raises:
        AwayError: the user has named no place, or none that can be read.
    """
    try:
        storage = parts.trusted(found, places.named(named))
    except places.PlaceError as error:
        raise AwayError(f"{folder}: the place of its rows cannot be used: {error}") from None
    except StorageError as error:
        raise AwayError(f"{folder}: {error}, so its rows in {shown(found)} cannot be read") from None
    if storage is None:
        raise AwayError(
            f"{folder} has no rows: the run's workers stored them in {shown(found)}. If you trust this record, name"
            f" the place: `--parts-from {shown(found)}`, or {places.PARTS_FROM} in the environment"
        )
    return storage


def write(folder: Path, found: Parts, storage: Storage, target: Path) -> None:
    """Write a record's tables to a folder, from its rows in a storage; each row is checked.

    Raises:
        AwayError: the storage cannot be read, or a part of it is missing or altered.
        OSError: a table cannot be written.
    """
    stored = StoredRun(storage, found.run)
    listed = sorted(found.streams, key=lambda part: part.worker)
    try:
        making.write_tables(target, lambda table: stored.listed(listed, table))
    except (StorageError, pa.ArrowException) as error:
        raise AwayError(
            f"{folder}: {error}, so its rows in {storage.place.uri}/{found.run} cannot be read"
        ) from None


def borrowed(folder: Path, found: Parts, named: Sequence[str]) -> "TemporaryDirectory[str]":
    """Return a temporary folder with the tables of a record whose rows are elsewhere.

    It is removed with the last reference to it, or at the end of the process.

    Raises:
        AwayError: the rows cannot be read, or do not fit the disk.
    """
    storage = storage_of(folder, found, named)
    borrowed = TemporaryDirectory(prefix="loadgen-rows-")
    try:
        write(folder, found, storage, Path(borrowed.name))
    except OSError as error:
        free = shutil.disk_usage(Path(borrowed.name).parent).free
        borrowed.cleanup()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise AwayError(
            f"{folder}: its rows cannot be written to a temporary folder ({why}; {free >> 20:,} MiB free): name a"
            " larger disk in TMPDIR"
        ) from None
    except BaseException:
        borrowed.cleanup()
        raise
    return borrowed


def shown(found: Parts) -> str:
    """Return the place that a record names, without what a terminal would obey or a URI should not hold."""
    try:
        return places.Place.of(found.uri).uri
    except places.PlaceError:
        return "a place that its manifest.json does not name properly"
