"""Compare the fast path with the Python path on a fixed number of frames from a fixed seed; see `fuzz`.

``LOADGEN_FUZZ_FRAMES`` sets the number of frames, ``LOADGEN_FUZZ_SEED`` the seed.
"""

import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import native
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import native_place
from loadgen.server import frames
from tests.native.fuzz import (
    ARRIVAL_NS,
    PLACES,
    READ_NS,
    STAMPS,
    Counts,
    Made,
    Row,
    by_python,
    changed,
    check,
    new_fast_path,
    reader,
    rows_in,
    stamped,
    stream,
    valid,
    written,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not native.available, reason="the native receive path was not built"),
]

FRAMES = int(os.environ.get("LOADGEN_FUZZ_FRAMES", "100000"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "20"))


def whole_frame(data: bytes) -> tuple[bytes, int] | None:
    """Return the text of the unmasked text frame at the beginning and its size, or None if it is not complete."""
    if len(data) < 2 or (data[1] == 126 and len(data) < 4):
        return None
    begin, size = (4, int.from_bytes(data[2:4], "big")) if data[1] == 126 else (2, data[1])
    return (data[begin : begin + size], begin + size) if len(data) >= begin + size else None


def check_stream(batch: list[Made], random: Random) -> None:
    """The same bytes in random pieces: the fast path where a frame begins, Python until the next does."""
    fast_path, rows = new_fast_path(batch[0].stamps)
    read = reader(batch[0].stamps)
    data = b"".join(frames.text_frame(made.text) for made in batch)
    found: list[Row] = []
    rest, at = b"", 0
    while at < len(data):
        piece = data[at : at + random.choice((1, 3, 100, 700, 5_000))]
        at += len(piece)
        if not rest:
            taken = fast_path.take_frames(bytearray(piece), ARRIVAL_NS, READ_NS)
            found += rows_in(rows)
            piece = piece[taken:]
        rest += piece
        while (complete := whole_frame(rest)) is not None:
            text, size = complete
            rest = rest[size:]
            row = by_python(text, read)
            found += [] if row is None else [row]
    assert rest == b""
    rows_of_python = [by_python(made.text, read) for made in batch]
    assert found == [row for row in rows_of_python if row is not None]


def test_a_frame_is_taken_as_python_takes_it_or_left() -> None:
    random = Random(SEED)
    counts = Counts()
    for batch in stream(random):
        check(batch, counts)
        check_stream(batch, random)
        if counts.frames >= FRAMES:
            break
    # The fuzz reaches both sides, and the fast path takes nearly all payloads that no bug or fault has touched.
    assert counts.valid > FRAMES / 60
    assert counts.valid_taken > 0.97 * counts.valid
    assert counts.checked_taken > 0.5 * counts.checked > FRAMES / 120
    assert counts.changed_taken > FRAMES / 30


def test_a_bare_event_is_taken_as_python_takes_it_or_left() -> None:
    random = Random(SEED)
    taken = sound = 0
    for _ in range(FRAMES // 10):
        stamps = Stamps(random.choice(PLACES))
        stamp = [random.getrandbits(62) for _ in range(5)]
        text = written(random, stamped(random, stamps.place.tokens, stamp, 3)).encode()
        intact = random.random() < 0.3
        if not intact:
            text = changed(text.replace(b'"', b'\\"'), random).replace(b'\\"', b'"')
        place = native_place(stamps)
        assert place is not None
        rows = native.Rows(9, 4)
        fast_path = native.DeliveryFastPath(rows, place.tokens, only=5)
        frame = frames.text_frame(text)
        size = fast_path.take_frames(frame, ARRIVAL_NS, READ_NS)
        assert size in (0, len(frame))
        found = rows_in(rows)
        assert len(found) == bool(size)
        if size:
            assert found == [[5, ARRIVAL_NS, READ_NS, 0, *(reader(stamps)(text.decode()) or ())]], text
        taken += bool(size)
        sound += intact
        assert size or not intact, text
    assert sound < taken


@given(st.randoms(use_true_random=False), st.sampled_from(STAMPS))
@settings(max_examples=100, deadline=None)
def test_the_same_of_what_hypothesis_can_make_smaller(random: Random, stamps: Stamps) -> None:
    batch = [Made(changed(valid(random, stamps), random), stamps, False) for _ in range(3)]
    check(batch, Counts())
    check_stream(batch, random)
