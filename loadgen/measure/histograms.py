"""HDR histograms that are filled in bulk from arrays and written in the standard HDR log format."""

import base64
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

LOWEST_NS = 1_000
HIGHEST_NS = 3_600_000_000_000
DIGITS = 3
#: Two headers in HdrHistogram's V2 encoding: one before the compressed part, and one at the beginning of that part.
_OUTER = struct.Struct(">II")
_INNER = struct.Struct(">IIIIQQd")
#: Maximum size of an unpacked histogram of this range and precision: a header, and counts of at most nine bytes each.
_MOST_UNPACKED = _INNER.size + 9 * 24_576
#: Maximum number of characters of an encoded histogram, even if it cannot be compressed at all.
MOST_TEXT = 300_000
_MOST_COUNT = 1 << 53
#: Biased exponent (IEEE 754) of the double 1.0, the number whose bit length is 1.
_EXPONENT_OF_ONE_BIT = 1023


def new_histogram() -> HdrHistogram:
    """Return an empty histogram with the range and precision of all histograms in the record."""
    return _uncycled(HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS))


def decoded(text: str) -> HdrHistogram:
    """Return the histogram of a text in the format of :func:`encoded`; the text may come from an untrusted source.

    The library decompresses any text, and allocates as many counts as the text demands. Both sizes are checked first,
    so that a text of a few kilobytes cannot take more memory than one histogram.

    Raises:
        ValueError: the text is not a histogram of this range and precision.
    """
    _check(text)
    try:
        histogram = HdrHistogram.decode(text)
    except Exception as error:
        raise ValueError(f"a histogram cannot be decoded: {error or type(error).__name__}") from None
    if not 0 <= histogram.total_count <= _MOST_COUNT:
        raise ValueError("a histogram counts more values than there can be")
    return _uncycled(histogram)


def _check(text: str) -> None:
    """Raise ValueError if decoding a text would take more memory than a histogram of this range and precision."""
    if len(text) > MOST_TEXT:
        raise ValueError(f"a histogram of {len(text):,} characters is longer than any can be")
    try:
        raw = base64.b64decode(text, validate=True)
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(raw[_OUTER.size :], _MOST_UNPACKED + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"a histogram cannot be decoded: {error}") from None
    if len(unpacked) > _MOST_UNPACKED or len(unpacked) < _INNER.size:
        raise ValueError("a histogram has more or fewer counts than any can have")
    _cookie, _length, offset, digits, lowest, highest, ratio = _INNER.unpack_from(unpacked)
    if (offset, digits, lowest, highest, ratio) != (0, DIGITS, LOWEST_NS, HIGHEST_NS, 1.0):
        raise ValueError("a histogram has another range or precision than those of a run")


def _uncycled(histogram: HdrHistogram) -> HdrHistogram:
    """Break the reference cycle of a histogram and its encoder, and return the histogram.

    Otherwise its 200 KB of counts would stay until the next garbage collection, which can take many minutes on a
    receive path that creates few objects.
    """
    histogram.encoder.histogram = weakref.proxy(histogram)
    return histogram


def record(histogram: HdrHistogram, values_ns: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Add ``values_ns`` to ``histogram``; return (negative, beyond), the numbers of values outside its range.

    The arithmetic is that of `HdrHistogram.record_value`, applied to a whole array with numpy; it updates the library's
    counts array and its three totals. Recording values one by one took 3 µs each, in a thread that the event loop had
    to wait for.
    """
    negative = beyond = 0
    inside = values_ns
    if inside.size and (int(inside.min()) < 0 or int(inside.max()) > HIGHEST_NS):
        negative = int(np.count_nonzero(values_ns < 0))
        beyond = int(np.count_nonzero(values_ns > HIGHEST_NS))
        inside = values_ns[(values_ns >= 0) & (values_ns <= HIGHEST_NS)]
    if inside.size:
        unit, half = histogram.unit_magnitude, histogram.sub_bucket_half_count_magnitude
        # Compute the bit length of each value from the exponent of the value as a double, which begins at bit
        # 52. This is exact for values below 2**53.
        shift = (inside | histogram.sub_bucket_mask).astype(np.float64).view(np.int64)
        shift >>= 52
        shift -= _EXPONENT_OF_ONE_BIT + half
        index = inside >> shift
        shift += 1 - unit
        shift <<= half
        index += shift
        index -= histogram.sub_bucket_half_count
        counts = np.ctypeslib.as_array(histogram.counts)
        counts += np.bincount(index, minlength=histogram.counts_len).astype(counts.dtype, copy=False)
        histogram.total_count += inside.size
        histogram.min_value = min(histogram.min_value, int(inside.min()))
        histogram.max_value = max(histogram.max_value, int(inside.max()))
    return negative, beyond


def encoded(histogram: HdrHistogram) -> str:
    """Return a histogram as text: HdrHistogram's V2 encoding, compressed and in base64."""
    text: str = histogram.encode().decode("ascii")
    return text


def difference(whole: HdrHistogram, part: HdrHistogram) -> HdrHistogram:
    """Return ``whole`` minus ``part``, a histogram of some of the same values.

    The minimum and maximum are copied from ``whole`` and may be wrong for the difference; `encoded` leaves them out.
    """
    rest = new_histogram()
    counts = np.ctypeslib.as_array(rest.counts)
    counts += np.ctypeslib.as_array(whole.counts) - np.ctypeslib.as_array(part.counts)
    rest.total_count = whole.total_count - part.total_count
    rest.min_value, rest.max_value = whole.min_value, whole.max_value
    return rest


class HistogramLog:
    """Writes a `histograms.hlog`: intervals of tagged histograms in HDR log format 1.2.

    The log writer of the hdrhistogram package is not used because it leaves out the tag.
    """

    def __init__(self, path: Path, start_ns: int, comment: str) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._start_ns = start_ns
        self._file.write(
            f"#[Histogram log format version 1.2]\n#{comment}\n"
            f"#[StartTime: {start_ns / 1e9:.3f} (seconds since epoch)]\n"
            f"#[BaseTime: {start_ns / 1e9:.3f} (seconds since epoch)]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )

    def write(self, tag: str, start_ns: int, end_ns: int, encoded: str, max_ns: int) -> None:
        """Append the encoded histogram of one interval; ``start_ns`` and ``end_ns`` are wall-clock times."""
        start = (start_ns - self._start_ns) / 1e9
        length = (end_ns - start_ns) / 1e9
        self._file.write(f"Tag={tag},{start:.3f},{length:.3f},{max_ns},{encoded}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def values_at(histogram: HdrHistogram, percentiles: Sequence[float]) -> list[int]:
    """Return the values at percentiles above 0, each the highest value of its bucket; zeros for an empty histogram.

    The results are those of `HdrHistogram.get_value_at_percentile`, which walks through all counts in Python and takes
    over a millisecond per percentile.
    """
    running = np.ctypeslib.as_array(histogram.counts).cumsum()
    targets = [histogram.get_target_count_at_percentile(percentile) for percentile in percentiles]
    places = np.searchsorted(running, targets, side="left").tolist()
    if not histogram.total_count:
        return [0] * len(targets)
    found = (histogram.get_value_from_index(place) for place in places)
    return [int(histogram.get_highest_equivalent_value(value)) for value in found]


class Sliding:
    """The sum of the last ``most`` histograms.

    It adds the newest and subtracts the oldest, since a new sum of ten histograms every second took a millisecond.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: deque[HdrHistogram] = deque()
        self._sum = new_histogram()

    def add(self, histogram: HdrHistogram) -> None:
        """Add a histogram, which must not change afterwards; drop the oldest if there are more than ``most``."""
        counts = np.ctypeslib.as_array(self._sum.counts)
        self._parts.append(histogram)
        counts += np.ctypeslib.as_array(histogram.counts)
        if len(self._parts) > self._most:
            counts -= np.ctypeslib.as_array(self._parts.popleft().counts)
        self._sum.total_count = sum(part.total_count for part in self._parts)
        self._sum.min_value = min(part.min_value for part in self._parts)
        self._sum.max_value = max(part.max_value for part in self._parts)

    @property
    def sum(self) -> HdrHistogram:
        """The sum of the histograms; the next :meth:`add` changes this same object."""
        return self._sum


def add(total: HdrHistogram, histogram: HdrHistogram) -> None:
    """Add a histogram of the same range and precision to ``total``.

    `HdrHistogram.add` gives the same sum and takes seven times as long.
    """
    counts = np.ctypeslib.as_array(total.counts)
    counts += np.ctypeslib.as_array(histogram.counts)
    total.total_count += histogram.total_count
    total.min_value = min(total.min_value, histogram.min_value)
    total.max_value = max(total.max_value, histogram.max_value)


def merge(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """Return the exact sum of histograms."""
    total = new_histogram()
    for histogram in histograms:
        add(total, histogram)
    return total
