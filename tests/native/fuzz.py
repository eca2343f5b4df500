"""Compare the fast path with the Python path on random frames.

  python -m tests.native.fuzz --frames 1000000 [--streams 3]

With ``--streams 3`` the frames are also sent as streams three times, in reads that end anywhere (see
`streams`).

If the fast path takes a frame, it must make exactly the row that Python makes. Exit code: 0, or 1 with the
first frame that differs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from loadgen import native
from loadgen.measure.stamp import decode_event, encode_event
from loadgen.payloads.integrity import canonical, checksum
from loadgen.payloads.place import index_of, place_named
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import NOT_OURS, Stamping
from loadgen.protocol.appsync import messages
from loadgen.server import frames

ARRIVAL_NS, READ_NS = 1_790_000_000_000_000_001, 1_790_000_000_000_000_777
#: Subscriptions and their numbers. The fast path stores the first subscription separately and the others in a
#: table. The last id is the longest that is allowed.
NUMBERS: Final = {
    "s1": 5,
    "s12": -1,
    "S1": 2**63 - 1,
    "a" * 23: 0,
    "0123-_+": -(2**63),
    "b" * 24: 7,
    "c" * 128: 8,
}
IDS: Final = [*NUMBERS, "s2", "", "d" * 24, "b" * 25, "c" * 129, "s", "s1 "]
EDGES: Final = [
    0, 1, -1, 9, 10, 2**31, 10**18, 2**63 - 1, -(2**63) + 1, -(2**63), 2**63, 2**64 + 1, 10**19, 10**30
]  # fmt: skip
#: Places of the stamp in an event, some of them within a list or under a name that is not ASCII.
PLACES: Final = [
    place_named(name)
    for name in (
        "_lg",
        "_lg",
        "_lg",
        "trace",
        "/meta/trace",
        "/a/b/c",
        "/items/1/t",
        "/0/0",
        "é",
        "/x~1y/",
        "/日本/s",
    )
]
#: Each place without and with a checksum.
STAMPS: Final = [Stamps(place, integrity) for place in PLACES for integrity in (False, True)]
#: Number of changed frames made from each valid one. It is high because making a valid frame takes most of the time.
VARIANTS: Final = 12

Row = list[int]
#: Takes an event and returns its stamp, or None if the event was altered.
Read = Callable[[str], tuple[int, ...] | None]


@dataclass(frozen=True)
class Made:
    """A frame's text, and the kind of its stamp; ``valid`` is True if nothing was changed."""

    text: bytes
    stamps: Stamps
    valid: bool


def number(random: Random) -> int:
    """Return a number for a stamp; one in ten is a limit of the integer types."""
    kind = random.random()
    if kind < 0.1:
        return random.choice(EDGES)
    return random.randrange(10 ** random.randrange(1, 19)) if kind < 0.9 else random.getrandbits(64) - 2**63


_WORDS: Final = [
    "", "a", "b", "user", "Zoë", "naïve text", 'a "quoted" word', "back\\slash", "line\nbreak\ttab", "/path/to",
    "日本語", "😀 emoji", "\u2028", "\x7f", "nul\x00", "a" * 15, "b" * 16, "c" * 17, "x" * 70, "é" * 20,
    "\\u0041", "\\\\", '"',
]  # fmt: skip
_NAMES: Final = [
    "a", "b", "c", "meta", "items", "trace", "_lgx", "_l", "0", "1", "é", "ü", "id", "event", "type", "x y",
]  # fmt: skip
_NUMBERS: Final = [
    0, 1, -1, 48213, 19.99, -0.5, 1e22, 1.5e-7, 2**53 + 1, 2**64, -(10**30), 0.1, 3.141592653589793,
]  # fmt: skip


def value(random: Random, depth: int) -> Any:
    """Return a random JSON value."""
    kind = random.randrange(10 if depth else 6)
    if kind < 2:
        return random.choice(_WORDS)
    if kind < 4:
        return random.choice(_NUMBERS)
    if kind < 6:
        return random.choice((True, False, None))
    if kind < 8:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    return members(random, depth - 1)


def members(random: Random, depth: int) -> dict[str, Any]:
    """Return a random JSON object."""
    return {random.choice(_NAMES): value(random, depth) for _ in range(random.randrange(5))}


def stamped(random: Random, tokens: tuple[str, ...], stamp: list[int], depth: int) -> Any:
    """Return a value with the stamp at the path ``tokens``, among other members and elements."""
    if not tokens:
        return stamp
    inner = stamped(random, tokens[1:], stamp, max(0, depth - 1))
    index = index_of(tokens[0])
    if index is not None and random.random() < 0.8:
        return [
            *(value(random, depth) for _ in range(index)),
            inner,
            *(value(random, 1) for _ in range(index)),
        ]
    others = members(random, depth)
    others.pop(tokens[0], None)
    items = [*others.items(), (tokens[0], inner)]
    random.shuffle(items)
    return dict(items)


def written(random: Random, content: Any) -> str:
    """Return JSON text: compact, with spaces or newlines, and with or without escapes for Unicode."""
    style: dict[str, Any] = random.choice(
        ({"separators": (",", ":")}, {"separators": (",", ":")}, {}, {"indent": 1})
    )
    text = json.dumps(content, ensure_ascii=random.random() < 0.3, **style)
    return text.replace("/", "\\/") if random.random() < 0.1 else text


def valid(random: Random, stamps: Stamps) -> list[bytes]:
    """Return one to three deliveries of an event as a service may write them, padded or with real content."""
    stamp = [number(random) for _ in range(5)]
    place = stamps.place
    if stamps.are_plain and random.random() < 0.2:
        size = random.choice((1, 60, 90, 130, 200))
        event = encode_event(stamp[0], stamp[1], stamp[2], stamp[3], stamp[4], size)
    else:
        content = stamped(random, place.tokens, stamp, 3)
        if stamps.integrity:
            # The checksum does not cover the numbers of the stamp.
            crc = checksum(canonical(json.dumps(content), place.tokens))
            stamp.append(crc if random.random() < 0.97 else crc ^ 1)
        event = written(random, content)
    return [delivery(random, event) for _ in range(random.choice((1, 1, 2, 3)))]


def delivery(random: Random, event: str) -> bytes:
    """Return the text of a delivery to a random subscription, sometimes an unknown one."""
    parts: list[tuple[str, Any]] = [
        ("type", "data"),
        ("id", random.choice(IDS if random.random() < 0.2 else list(NUMBERS))),
        ("event", event),
    ]
    if random.random() < 0.1:
        parts.append((random.choice(("more", "ü", "events")), value(random, 2)))
    if random.random() < 0.5:
        random.shuffle(parts)
    return written(random, dict(parts)).encode()


# Changes.

_FRAGMENTS: Final = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n", b"\t", b"0", b"9", b"-", b".", b"e", b"+", b"E9",
    b'\\"', b"\\\\", b"\\/", b"\\n", b"\\t", b"\\b", b"\\\\n", b"\\\\/", b'\\\\\\"', b"\\\\\\\\", b"\\x", b"\\\\x",
    b"\\u0041", b"\\\\u0041", b"\\u0022", b"\\u005c", b"\\u0020", b"\\u000a", b"\\u00e9", b"\\\\u00e9", b"\\u0000",
    b"\\ud83d\\ude00", b"\\\\ud83d\\\\ude00", b"\\ud83d", b"\\ude00", b"\\\\ud83d", b"\\\\ude00", b"\\uD83D\\\\uDE00",
    b"\\u00G0", b"\xc3\xa9", b"\xc3", b"\xa9", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98\x80",
    b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xff", b"\x00", b"\x1f", b"\x7f", b"true", b"null", b"NaN", b"Infinity",
    b"-0", b"00", b"1.0", b"1e5", b"1E+99", b"1e999", b"1e-999", b"9" * 40, b"9" * 250, b"1.", b"-1.25e-3",
    b'\\"_lg\\":[1,2,3,4,5],', b'\\"_lg\\":null,', b',\\"_lg\\":[1,2,3,4,5]', b'\\"\\\\u005flg\\":[1,2,3,4,5],',
    b'\\"\\u005flg\\":1,', b'\\"a\\":{},', b'\\"meta\\":{},', b'\\"meta\\":{\\"trace\\":[1,2,3,4,5]},', b'\\"a\\":1,',
    b'"type":"data",', b'"id":"s1",', b'"id":"s12",', b'"more":[{"id":"s1"}],', b'"event":"{}",', b'"type":"ka",',
    b'"i\\u0064":"s1",', b',"event":"{\\"_lg\\":[1,2,3,4,5]}"', b"[" * 60, b"]" * 60, b'{\\"a\\":' * 60, b"}" * 60,
    *(b"%d" % edge for edge in EDGES),
]  # fmt: skip


def flip(text: bytes, at: int, random: Random) -> bytes:
    """Change a bit."""
    return text[:at] + bytes((text[at] ^ 1 << random.randrange(8),)) + text[at + 1 :]


def insert(text: bytes, at: int, random: Random) -> bytes:
    """Insert a fragment of JSON, either of the message or of the event within it."""
    return text[:at] + random.choice(_FRAGMENTS) + text[at:]


def replace(text: bytes, at: int, random: Random) -> bytes:
    """Replace a few bytes by a fragment."""
    return text[:at] + random.choice(_FRAGMENTS) + text[at + random.choice((1, 1, 2, 5)) :]


def delete(text: bytes, at: int, random: Random) -> bytes:
    """Remove a few bytes."""
    return text[:at] + text[at + random.choice((1, 1, 2, 8, 40)) :]


def truncate(text: bytes, at: int, random: Random) -> bytes:
    """Cut the end off."""
    return text[:at]


def repeat(text: bytes, at: int, random: Random) -> bytes:
    """Repeat a part of the text, such as a digit or a member, or all of it from the position on."""
    end = at + random.choice((1, 2, 7, 20, len(text)))
    return text[:end] + text[at:end] + text[end:]


def swap(text: bytes, at: int, random: Random) -> bytes:
    """Exchange two neighbouring parts."""
    middle = at + random.choice((1, 3, 10))
    end = middle + random.choice((1, 3, 10))
    return text[:at] + text[middle:end] + text[at:middle] + text[end:]


def escape(text: bytes, at: int, random: Random) -> bytes:
    """Write a character as an escape: equal for Python, but other bytes."""
    form = random.choice((b"\\u%04x", b"\\\\u%04x", b"\\u%04X"))
    return text[:at] + form % text[at] + text[at + 1 :]


_SEPARATORS: Final = b'{}[]:,"'
_SPACES: Final = (
    b" ",
    b"\n",
    b"\t",
    b"\r",
    b"\xc2\xa0",
    b"\\n",
    b"\\t",
    b"\\r",
    b"\\\\n",
    b"\\u0020",
    b"\x0b",
)


def space(text: bytes, at: int, random: Random) -> bytes:
    """Insert whitespace, or something similar, next to the following separator."""
    while at < len(text) and text[at] not in _SEPARATORS:
        at += 1
    at += random.randrange(2)
    return text[:at] + random.choice(_SPACES) + text[at:]


def fill(text: bytes, at: int, random: Random) -> bytes:
    """Insert a member or an element, or the start of one, after a bracket or comma."""
    while at < len(text) and text[at] not in b"{[,":
        at += 1
    depth = random.choice((1, 3, 55, 70))
    form = random.choice(
        (
            b'\\"n\\":%s,', b'\\"n\\":\\"%s\\",', b"%s,", b'\\"%s\\":1,', b'\\"%s\\",',
            b"[" * depth + b"%s" + b"]" * depth + b",", b'{\\"k\\":' * depth + b"%s" + b"}" * depth + b",",
            b'\\"n\\":' + b"[" * depth + b"%s" + b"]" * depth + b",",
        )
    )  # fmt: skip
    return text[: at + 1] + form.replace(b"%s", random.choice(_FRAGMENTS)) + text[at + 1 :]


CHANGES: Final[list[Callable[[bytes, int, Random], bytes]]] = [
    flip, insert, insert, replace, replace, delete, truncate, repeat, swap, escape, escape, space, space, fill, fill,
]  # fmt: skip


def changed(text: bytes, random: Random) -> bytes:
    """Return the text changed in one to three ways."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        text = random.choice(CHANGES)(text, random.randrange(len(text)), random) or b"{"
    return text[:60_000]


def stream(random: Random) -> Iterator[list[Made]]:
    """Yield batches of frames with stamps of one kind: each valid frame, then changed copies of it."""
    while True:
        stamps = random.choice(STAMPS)
        batch = []
        for _ in range(20):
            texts = valid(random, stamps)
            batch += [Made(text, stamps, True) for text in texts]
            batch += [Made(changed(random.choice(texts), random), stamps, False) for _ in range(VARIANTS)]
        yield batch


# Both paths.


def reader(stamps: Stamps) -> Read:
    """Return the function with which `Deliveries` reads the stamp."""
    stamping = Stamping(stamps)
    if stamping.plain:
        return lambda event: decode_event(event).stamp

    def read(event: str) -> tuple[int, ...] | None:
        reading = stamping.read(event)
        return None if reading.altered else reading.stamp

    return read


def by_python(text: bytes, read: Read) -> Row | None:
    """Return the row that the Python code would record for a message, or None if it would record none."""
    try:
        delivery = messages.decode_data_message(text)
        number = NUMBERS[delivery.id]
        stamp = read(delivery.event)
    except (*messages.UNREADABLE, *NOT_OURS):
        return None
    if stamp is None:
        return None
    # A stamp with numbers that do not fit into the record's columns is not ours, so the event makes no row.
    return (
        [number, ARRIVAL_NS, READ_NS, 0, *stamp] if all(-(2**63) <= each < 2**63 for each in stamp) else None
    )


def new_fast_path(
    stamps: Stamps, rows: native.Rows | None = None
) -> tuple[native.DeliveryFastPath, native.Rows]:
    """Return a fast path with the subscriptions, and rows whose buffers fill up within a batch."""
    rows = rows if rows is not None else native.Rows(9, 61)
    place = Stamping(stamps).native_place
    assert place is not None
    fast_path = native.DeliveryFastPath(rows, place.tokens, place.checked)
    for subscription_id, value in NUMBERS.items():
        fast_path.add(subscription_id, value)
    return fast_path, rows


def rows_in(rows: native.Rows) -> list[Row]:
    """Remove the rows from the buffers and return them."""
    values = [value for buffer, used in rows.take() for value in memoryview(buffer)[:used].cast("q")]
    return [values[at : at + 9] for at in range(0, len(values), 9)]


class Different(AssertionError):
    """The fast path and the Python code disagree about a frame."""


@dataclass
class Counts:
    """Counts of all frames, of frames that the fast path took, and of unchanged frames that make a row in Python.

    Frames with a checksum are counted separately, because only Python knows the canonical form of many of
    their numbers.
    """

    frames: int = 0
    taken: int = 0
    changed_taken: int = 0
    valid: int = 0
    valid_taken: int = 0
    checked: int = 0
    checked_taken: int = 0


def check(batch: list[Made], counts: Counts) -> None:
    """Give frames with stamps of one kind to the fast path and to the Python code; raise Different if they differ."""
    stamps = batch[0].stamps
    fast_path, rows = new_fast_path(stamps)
    # The fast paths of three connections share `rows`, so an event that one has read is known to the others.
    fast_paths = [fast_path, *(new_fast_path(stamps, rows)[0] for _ in range(2))]
    read = reader(stamps)
    taken = []
    for number, made in enumerate(batch):
        frame = frames.text_frame(made.text)
        size = fast_paths[number % 3].take_frames(frame, ARRIVAL_NS, READ_NS)
        if size not in (0, len(frame)):
            raise Different(f"{size} of {len(frame)} bytes were taken of {made}")
        if size:
            taken.append(made)
        if made.valid:
            # Do not count frames with the smallest 64-bit integer, which is valid but left to Python.
            row = by_python(made.text, read)
            if row is None or -(2**63) in row[4:]:
                continue
            if stamps.integrity:
                counts.checked += 1
                counts.checked_taken += bool(size)
            else:
                counts.valid += 1
                counts.valid_taken += bool(size)
    found = rows_in(rows)
    if len(found) != len(taken):
        raise Different(f"{len(found)} rows of {len(taken)} frames")
    for made, row in zip(taken, found, strict=True):
        if row != (wanted := by_python(made.text, read)):
            raise Different(f"the fast path makes {row} and Python {wanted} of {made}")
    counts.frames += len(batch)
    counts.taken += len(taken)
    counts.changed_taken += sum(not made.valid for made in taken)


def main() -> int:
    """Check the number of frames that the command line asks for, and print the counts."""
    parser = argparse.ArgumentParser(description="Compare the fast path with the Python path.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=30)
    parser.add_argument(
        "--streams", type=int, default=0, help="how often each batch also comes in reads that end anywhere"
    )
    options = parser.parse_args()
    from tests.native.streams import check_stream

    counts, random, streamed = Counts(), Random(options.seed), 0
    for batch in stream(random):
        try:
            check(batch, counts)
            streamed += check_stream(batch, random, times=options.streams) if options.streams else 0
        except Different as different:
            print(different, file=sys.stderr)
            return 1
        if counts.frames >= options.frames:
            break
    print(
        f"seed {options.seed}: {counts.frames:,} frames, {counts.taken:,} taken by C and equal in Python "
        f"({counts.changed_taken:,} of them changed); of valid ones {counts.valid_taken:,} of {counts.valid:,} taken, "
        f"with a checksum {counts.checked_taken:,} of {counts.checked:,}; {streamed:,} in streams"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
