"""Make up a worker's spool (the files that it records and sends to the master): each table's bytes for each second.

The bytes have the form that a real worker records. All simulated workers of a run send the same bytes, which are made
only once. The names of a worker's files contain its number.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.record import schemas
from analysis.record.schemas import spool_name
from loadgen.measure import histograms
from loadgen.measure.clock import now_ns
from loadgen.measure.health import HealthSample
from loadgen.measure.rows import ClockRow
from loadgen.measure.spool import SpoolWriter

SECOND_NS = 1_000_000_000
#: Rows of one batch, as the recorder writes them.
BATCH_ROWS = 50_000
SUBSCRIBERS = 500


@dataclass
class Stream:
    """The bytes of one file so far. ``ends`` are its lengths at the end of each second."""

    data: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class Recorded:
    """The spool (recorded files) that all simulated workers send; `add_second` appends the bytes of another second."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._random = np.random.default_rng(1)
        self._seconds: dict[int, dict[str, tuple[bytes, bytes, int]]] = {}

    @property
    def seconds(self) -> int:
        """Number of seconds recorded so far."""
        return max((len(stream.ends) for stream in self.streams.values()), default=0)

    def add_second(self, deliveries: int) -> None:
        """Record one more second with this many deliveries."""
        if deliveries not in self._seconds:
            self._seconds[deliveries] = self._second(deliveries)
        done = self.seconds
        for table, (header, body, rows) in self._seconds[deliveries].items():
            stream = self.streams.setdefault(table, Stream())
            if not stream.data:
                stream.data += header
            stream.ends += [len(stream.data)] * (done - len(stream.ends))
            stream.rows += [stream.rows[-1] if stream.rows else 0] * (done - len(stream.rows))
            stream.data += body
            stream.ends.append(len(stream.data))
            stream.rows.append((stream.rows[-1] if stream.rows else 0) + rows)
        for stream in self.streams.values():
            if len(stream.ends) == done:
                stream.ends.append(stream.ends[-1])
                stream.rows.append(stream.rows[-1])

    def histogram(self, deliveries: int) -> str:
        """Return the encoded histogram of a second's latencies."""
        histogram = histograms.new_histogram()
        histograms.record(histogram, self._latencies(max(1, min(deliveries, BATCH_ROWS))))
        return histograms.encoded(histogram)

    def _latencies(self, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return (self._random.lognormal(15, 0.4, count)).astype(np.int64)

    def _second(self, deliveries: int) -> dict[str, tuple[bytes, bytes, int]]:
        """Return for each table the stream's header, the bytes of one second, and the number of rows in these bytes.

        `SpoolWriter` writes two seconds, and the bytes of the second one are taken: those of the first include the
        header.
        """
        with tempfile.TemporaryDirectory() as folder:
            writer = SpoolWriter(Path(folder), 0)
            lengths: list[dict[str, int]] = []
            counts: list[dict[str, int]] = []
            for _ in range(2):
                self._write(writer, deliveries)
                lengths.append({path.name: path.stat().st_size for path in writer.files()})
                counts.append(dict(writer.rows))
            found = {}
            for table, rows in counts[0].items():
                name = spool_name(table, 0)
                first, second = lengths[0][name], lengths[1][name] - lengths[0][name]
                content = (Path(folder) / name).read_bytes()
                found[table] = (
                    content[: _header(table)],
                    content[first : first + second],
                    counts[1][table] - rows,
                )
            writer.close()
        return found

    def _write(self, writer: SpoolWriter, deliveries: int) -> None:
        at_ns = now_ns()
        for begin in range(0, deliveries, BATCH_ROWS):
            writer.write(self._batch(begin, min(BATCH_ROWS, deliveries - begin), at_ns), "deliveries")
        health = HealthSample(
            *(
                at_ns,
                SECOND_NS,
                SECOND_NS // 2,
                1_000_000,
                None,
                300_000,
                deliveries,
                0,
                0,
                10**8,
                600,
                65_536,
            ),
            *(500, 28_232, 0, 0, None, None, SECOND_NS // 3),
        )
        writer.write_rows("health", [health.row()])
        writer.write_rows("clock", [ClockRow(at_ns, at_ns + 90_000, at_ns + 95_000, at_ns + 190_000)] * 4)
        encoded = self.histogram(deliveries)
        span = (at_ns - SECOND_NS, at_ns)
        writer.write_rows(
            "histograms", [(tag, *span, encoded, 10**7, 0, 0) for tag in ("delivery", "service", "queue")]
        )

    def _batch(self, begin: int, rows: int, at_ns: int) -> pa.RecordBatch:
        """Return deliveries of events that each reach `SUBSCRIBERS` subscriptions."""
        number = np.arange(begin, begin + rows, dtype=np.int64)
        event = number // SUBSCRIBERS
        intended = at_ns + event * 5_000_000
        sent = intended + 30_000 + (event * 7919) % 20_000
        arrival = sent + self._latencies(rows)
        columns = [
            np.zeros(rows, np.int16), (number % SUBSCRIBERS).astype(np.int32), np.ones(rows, np.int32), event,
            intended, sent, arrival, arrival + self._random.integers(5_000, 60_000, rows), np.zeros(rows, np.int64),
        ]  # fmt: skip
        schema = schemas.plain("deliveries")
        arrays = [pa.array(each, type=of.type) for each, of in zip(columns, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _header(table: str) -> int:
    """Return the length in bytes of the header of a table's stream, before its first batch."""
    return int(schemas.plain(table).serialize().size)
