"""Compare the fast path with the Python path on a fixed number of frames from a fixed seed.

A frame that the fast path takes must give the row that Python makes of it; a frame that it leaves must change nothing.
``LOADGEN_FUZZ_FRAMES`` sets the number of frames, ``LOADGEN_FUZZ_SEED`` the seed.
"""

import json
import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.stamp import decode_event, encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not native.available, reason="the native receive path was not built"),
]

FRAMES = int(os.environ.get("LOADGEN_FUZZ_FRAMES", "100000"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "20"))
A_BATCH = 1000
ARRIVAL_NS, READ_NS = 1_790_000_000_000_000_001, 1_790_000_000_000_000_777
#: One is the fast path's first, the others are in its table; the longest has the most bytes an id may have.
NUMBERS = {"s1": 5, "s12": -1, "S1": 2**63 - 1, "a" * 23: 0, "0123-_+": -(2**63)}
IDS = [*NUMBERS, "s2", "", "a" * 24, "s", "s1 "]
EDGES = [0, 1, -1, 9, 10, 2**31, 10**18, 2**63 - 1, -(2**63) + 1, -(2**63), 2**63, 2**64 + 1, 10**19, 10**30]
LIKELY = b'{}[]":,\\ 0123456789-+.eExpadtypeidevnt_lgsnu\x00\x1f\x7f\xc3\xa9\n\t\r'

Row = list[int]


def number(random: Random) -> int:
    kind = random.random()
    if kind < 0.1:
        return random.choice(EDGES)
    return random.randrange(10 ** random.randrange(1, 19)) if kind < 0.9 else random.getrandbits(64) - 2**63


def valid(random: Random) -> bytes:
    """Return a delivery as the harness and the service write it, its members in any order."""
    stamp = [number(random) for _ in range(5)]
    event = encode_event(
        stamp[0], stamp[1], stamp[2], stamp[3], stamp[4], random.choice((1, 60, 90, 130, 200))
    )
    members = [("type", "data"), ("id", random.choice(IDS)), ("event", event)]
    if random.random() < 0.5:
        random.shuffle(members)
    return json.dumps(dict(members), separators=(",", ":")).encode()


def flip(text: bytes, random: Random) -> bytes:
    at = random.randrange(len(text))
    return text[:at] + bytes((text[at] ^ 1 << random.randrange(8),)) + text[at + 1 :]


def put(text: bytes, random: Random) -> bytes:
    at = random.randrange(len(text))
    return text[:at] + bytes((random.choice(LIKELY),)) + text[at + random.randrange(2) :]


def delete(text: bytes, random: Random) -> bytes:
    at = random.randrange(len(text))
    return text[:at] + text[at + random.choice((1, 1, 2, 8)) :]


def truncate(text: bytes, random: Random) -> bytes:
    return text[: random.randrange(len(text))]


def repeat(text: bytes, random: Random) -> bytes:
    """Twice the same span: of a number, a member, the whole."""
    begin = random.randrange(len(text))
    end = begin + random.choice((1, 2, 7, 20, len(text)))
    return text[:end] + text[begin:end] + text[end:]


def repeat_member(text: bytes, random: Random) -> bytes:
    member = random.choice(
        (
            b'"type":"data"',
            b'"id":"s1"',
            b'"id":"s12"',
            b'"event":"{\\"_lg\\":[1,2,3,4,5]}"',
            b'"more":[{"id":"s1"}]',
        )
    )
    return b"{" + member + b"," + text[1:] if random.random() < 0.5 else text[:-1] + b"," + member + b"}"


def escape(text: bytes, random: Random) -> bytes:
    """A character as JSON may write it too: the same for Python, and other bytes."""
    at = random.randrange(len(text))
    written = (
        rb"\u%04x" % text[at] if random.random() < 0.8 else rb"\u%04X" % random.choice((0xD800, 0xDC00, 0xE9))
    )
    return text[:at] + written + text[at + 1 :]


def space(text: bytes, random: Random) -> bytes:
    places = [at for at, byte in enumerate(text) if byte in b'{}[]:,"']
    at = random.choice(places or [0]) + random.randrange(2)
    return text[:at] + random.choice((b" ", b"\n", b"\t", b"\r", b"\xc2\xa0", b"\\n")) + text[at:]


def other_number(text: bytes, random: Random) -> bytes:
    places = [at for at, byte in enumerate(text) if byte in b"[,"]
    at = random.choice(places or [0]) + 1
    end = at
    while end < len(text) and text[end] in b"-0123456789":
        end += 1
    written = random.choice(
        (b"-0", b"00", b"01", b"1.0", b"1e3", b"-", b"", b"null", b"true", b"[1]", b'\\"1\\"', b"9" * 40,
         *(b"%d" % edge for edge in EDGES))
    )  # fmt: skip
    return text[:at] + written + text[end:]


def nest(text: bytes, random: Random) -> bytes:
    depth = random.choice((1, 2, 50))
    return random.choice((b"[" * depth + text + b"]" * depth, b'{"a":' * depth + text + b"}" * depth))


CHANGES: list[Callable[[bytes, Random], bytes]] = [
    flip, put, delete, truncate, repeat, repeat_member, escape, space, other_number, nest,
]  # fmt: skip


def generate(random: Random) -> bytes:
    """Return a message: one in three is valid, the others are changed in one to three ways."""
    text = valid(random)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3)) if random.random() < 0.8 else 0):
        text = random.choice(CHANGES)(text, random) or b"{"
    return text[:60_000]


def by_python(text: bytes) -> Row | None:
    """Return the row that `AppSyncEvents` and `Deliveries.on_event` make of a message."""
    try:
        delivery = messages.decode_data_message(text)
        stamp = decode_event(delivery.event).stamp
        row = [NUMBERS[delivery.id], ARRIVAL_NS, READ_NS, 0, *stamp]
    except (*messages.UNREADABLE, KeyError):
        return None
    # What does not fit into the record's columns is an event of somebody else.
    return row if all(-(2**63) <= value < 2**63 for value in stamp) else None


def new_fast_path() -> tuple[native.DeliveryFastPath, native.Rows]:
    # A size at which buffers fill within a batch.
    rows = native.Rows(9, 61)
    fast_path = native.DeliveryFastPath(rows)
    for subscription_id, value in NUMBERS.items():
        fast_path.add(subscription_id, value)
    return fast_path, rows


def written(rows: native.Rows) -> list[Row]:
    values = [value for buffer, used in rows.take() for value in memoryview(buffer)[:used].cast("q")]
    return [values[at : at + 9] for at in range(0, len(values), 9)]


def check_singly(texts: list[bytes]) -> tuple[int, int]:
    """Return (messages that the fast path took, messages that only Python makes a row of)."""
    fast_path, rows = new_fast_path()
    taken: list[bytes] = []
    wanted: list[Row | None] = []
    left = 0
    for text in texts:
        frame = frames.text_frame(text)
        size = fast_path.take_frames(frame, ARRIVAL_NS, READ_NS)
        if size:
            assert size == len(frame), text
            taken.append(text)
            wanted.append(by_python(text))
        elif by_python(text) is not None:
            left += 1
    found = written(rows)
    assert len(found) == len(wanted)
    for text, row, expected in zip(taken, found, wanted, strict=True):
        assert row == expected, text
    return len(taken), left


def whole_frame(data: bytes) -> tuple[bytes, int] | None:
    """Return the text of the unmasked text frame at the beginning and its size, or None if it is not complete."""
    if len(data) < 2 or (data[1] == 126 and len(data) < 4):
        return None
    begin, size = (4, int.from_bytes(data[2:4], "big")) if data[1] == 126 else (2, data[1])
    return (data[begin : begin + size], begin + size) if len(data) >= begin + size else None


def check_stream(texts: list[bytes], random: Random) -> None:
    """The same bytes in random pieces: the fast path where a frame begins, Python until the next does."""
    fast_path, rows = new_fast_path()
    stream = b"".join(map(frames.text_frame, texts))
    found: list[Row] = []
    rest, at = b"", 0
    while at < len(stream):
        piece = stream[at : at + random.choice((1, 3, 100, 700, 5_000))]
        at += len(piece)
        if not rest:
            taken = fast_path.take_frames(bytearray(piece), ARRIVAL_NS, READ_NS)
            found += written(rows)
            piece = piece[taken:]
        rest += piece
        while (complete := whole_frame(rest)) is not None:
            text, size = complete
            rest = rest[size:]
            row = by_python(text)
            found += [] if row is None else [row]
    assert rest == b""
    assert found == [row for row in map(by_python, texts) if row is not None]


def test_a_frame_is_taken_as_python_takes_it_or_left() -> None:
    random = Random(SEED)
    took = left = 0
    for first in range(0, FRAMES, A_BATCH):
        texts = [generate(random) for _ in range(min(A_BATCH, FRAMES - first))]
        counts = check_singly(texts)
        took += counts[0]
        left += counts[1]
        check_stream(texts, random)
    # The fuzz reaches both sides: what the fast path takes, and what is a delivery in a form that it does not know.
    assert took > FRAMES / 10
    assert left > FRAMES / 100


@given(st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_same_of_what_hypothesis_can_make_smaller(random: Random) -> None:
    texts = [generate(random) for _ in range(3)]
    check_singly(texts)
    check_stream(texts, random)


def test_what_is_not_changed_is_taken_whenever_python_makes_a_row_that_fits() -> None:
    random = Random(SEED)
    texts = [valid(random) for _ in range(2_000)]
    for text in texts:
        fast_path, _ = new_fast_path()
        row = by_python(text)
        # The smallest number of all is the one that fits and is left to Python.
        wanted = row is not None and -(2**63) not in row[4:]
        assert bool(fast_path.take_frames(frames.text_frame(text), ARRIVAL_NS, READ_NS)) == wanted, text
