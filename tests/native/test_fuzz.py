"""Compare the fast path with the Python path on a fixed number of frames from a fixed seed (see `fuzz`).

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
    changed,
    check,
    reader,
    rows_in,
    stamped,
    stream,
    valid,
    written,
)
from tests.native.streams import check_stream

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not native.available, reason="the native receive path was not built"),
]

FRAMES = int(os.environ.get("LOADGEN_FUZZ_FRAMES", "50000"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "20"))


def test_a_frame_is_taken_as_python_takes_it_or_left() -> None:
    random = Random(SEED)
    counts = Counts()
    streamed = 0
    for batch in stream(random):
        check(batch, counts)
        streamed += check_stream(batch, random) if streamed < counts.frames // 2 else 0
        if counts.frames >= FRAMES:
            break
    # Check that the frames are worth the test: they reach both paths, and the fast path takes nearly all valid frames.
    assert counts.valid > FRAMES / 60
    assert counts.valid_taken > 0.97 * counts.valid
    assert counts.checked_taken > 0.5 * counts.checked > FRAMES / 120
    assert counts.changed_taken > FRAMES / 30
    assert streamed > FRAMES / 3


def test_a_bare_event_is_taken_as_python_takes_it_or_left() -> None:
    random = Random(SEED)
    # A pattern that is only `{event}`: the whole message is the event, as nchan sends it.
    whole = native.Template("text", ("event",))
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
        fast_path = native.TemplateFastPath(rows, place.tokens, whole, native.TEXT_FRAMES, only=5)
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
    batch = [Made(changed(text, random), stamps, False) for _ in range(3) for text in valid(random, stamps)]
    check(batch, Counts())
    # Do not use the receive thread: its timing is different each time, and hypothesis must be able to repeat a failure.
    check_stream(batch, Random(random.getrandbits(16)), through_thread=False)
