"""Convert columns of a table to numpy arrays, and interpret the status of events."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]


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
    # Number the texts in the order in which rows first use them; a text that no row uses gets no code.
    encoded = pc.dictionary_encode(numbers, null_encoding="encode").combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    named = [None if number is None else texts[number].as_py() for number in encoded.dictionary.to_pylist()]
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64), named


def taken(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a mask of the events that should arrive: those with the status `accepted` or `sent`.

    If a service does not acknowledge publishes, its events are `sent`, and it is not known whether it accepted them
    (see :func:`unanswering`).
    """
    status, names = codes(table, "status")
    return np.isin(status, [names.index(name) for name in ("accepted", "sent") if name in names])


def unanswering(table: pa.Table) -> bool:
    """Return True if the service does not acknowledge publishes, so that the number of accepted events is unknown."""
    return "sent" in codes(table, "status")[1]
