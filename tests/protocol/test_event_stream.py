"""Test the parser of event streams: the standard's rules, for any bytes divided in any way."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.protocol import event_stream
from loadgen.protocol.event_stream import EVENT_TOO_LONG, LINE_TOO_LONG, MOST_ID_BYTES, EventStream

Events = list[tuple[bytes, bytes]]
Said = tuple[Events, bytes, int | None]


def parsed(*parts: bytes) -> Said:
    """Return (name and data of each event, last id, retry) of a stream that arrives in these parts."""
    stream = EventStream()
    events = [(event.name, event.data) for part in parts for event in stream.feed(part)]
    return events, stream.last_id, stream.retry_ms


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # The following streams are the examples of the standard (WHATWG HTML, 9.2.6).
        ([b"data: YHOO", b"data: +2", b"data: 10", b""], ([(b"", b"YHOO\n+2\n10")], b"", None)),
        (
            [
                b": test stream", b"", b"data: first event", b"id: 1", b"", b"data:second event", b"id", b"",
                b"data:  third event", b"",
            ],
            ([(b"", b"first event"), (b"", b"second event"), (b"", b" third event")], b"", None),
        ),
        ([b"data", b"", b"data", b"data", b"", b"data:"], ([(b"", b""), (b"", b"\n")], b"", None)),
        ([b"data:test", b"", b"data: test", b""], ([(b"", b"test"), (b"", b"test")], b"", None)),
        # The following streams have event names and ids, and lines that reset them.
        ([b"event: add", b"data: 1", b"", b"data: 2", b""], ([(b"add", b"1"), (b"", b"2")], b"", None)),
        ([b"event: add", b"", b"data: 2", b""], ([(b"", b"2")], b"", None)),
        ([b"event: add", b"event: del", b"data: 2", b""], ([(b"del", b"2")], b"", None)),
        ([b"id: 7", b"data: 1", b"", b"data: 2", b""], ([(b"", b"1"), (b"", b"2")], b"7", None)),
        ([b"id: 7", b"", b"data: open"], ([], b"7", None)),
        ([b"id: 7", b"data: open"], ([], b"", None)),
        ([b"id: 7", b"", b"id: 8\0", b"data: x", b""], ([(b"", b"x")], b"7", None)),
        ([b"id: 7", b"", b"id:", b"data: x", b""], ([(b"", b"x")], b"", None)),
        # The following streams set the wait before a reconnect.
        ([b"retry: 1500", b"retry: soon", b"retry: 1.5", b"retry: -1", b"retry:"], ([], b"", 1500)),
        ([b"retry: 99999999999999"], ([], b"", None)),
        # Unknown fields are ignored.
        ([b"Data: x", b" data: x", b"other: x", b":data: x", b""], ([], b"", None)),
        ([b"data: a: b", b""], ([(b"", b"a: b")], b"", None)),
        ([b"\xef\xbb\xbfdata: x", b"\xef\xbb\xbfdata: y", b""], ([(b"", b"x")], b"", None)),
        ([b"data: \xff", b""], ([(b"", b"\xff")], b"", None)),
    ],
)  # fmt: skip
def test_lines_mean_what_the_standard_says_however_they_end(
    end: bytes, lines: list[bytes], said: Said
) -> None:
    stream = b"".join(line + end for line in lines)
    assert parsed(stream) == said
    assert parsed(*(stream[at : at + 1] for at in range(len(stream)))) == said


def by_the_standard(stream: bytes) -> Events:
    """Parse a whole event stream line by line, as the HTML standard describes, and return its events."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]
    events, name, data = [], b"", b""
    for line in lines:
        if not line:
            if data:
                events.append((name, data.removesuffix(b"\n")))
            name = data = b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value
    return events


PIECES = st.sampled_from([
    b"data: ", b"data:", b"data", b"event: x", b"id: 1", b"id", b"retry: 5", b": note", b"\n", b"\r", b"\r\n",
    b"\n\n", b"\r\n\r\n", b"\r\r", b"{}", b" ", b":", b"\xef\xbb\xbf", b"\xef", b"\xff", b"\0",
])  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=3), max_size=40).map(b"".join)


@given(STREAMS, st.data())
@example(b"\xef\xbb\xbf", None)
@example(b"\r\n\r\n", None)
def test_any_division_of_any_stream_gives_the_same_events(stream: bytes, data: st.DataObject | None) -> None:
    cuts = [] if data is None else data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    parts = [
        stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) if begin < end
    ]
    whole = parsed(stream)
    assert parsed(*parts) == whole
    assert whole[0] == by_the_standard(stream)


@given(STREAMS, st.data())
def test_an_event_ends_where_its_last_byte_was_fed(stream: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(stream)))
    reader, begun = EventStream(), 0
    for part in (stream[:cut], stream[cut:]):
        for event in reader.feed(part):
            end = begun + event.end
            line_end = 2 if stream[:end].endswith(b"\r\n") else 1
            count = len(by_the_standard(stream[: end - line_end]))
            assert len(by_the_standard(stream[:end])) == count + 1
            assert 0 < event.end <= len(part)
        begun += len(part)


@pytest.mark.parametrize("size", [1000, 70_000])
@pytest.mark.parametrize(
    ("begin", "part", "said"),
    [
        (b"data: ", b"x", LINE_TOO_LONG),
        (b"", b":", LINE_TOO_LONG),
        (b"", b"data: xxxxxxxx\n", EVENT_TOO_LONG),
        (b"id: ", b"x", LINE_TOO_LONG),
    ],
)
def test_what_never_ends_is_bounded(
    begin: bytes, part: bytes, said: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MOST_BYTES", 200_000)
    stream = EventStream()
    assert not stream.feed(begin)
    for _ in range(1 + 600_000 // size):
        assert not stream.feed(part * (size // len(part)))
    assert stream.error == said
    assert not stream.feed(b"\n\ndata: x\n\n")
    assert len(stream._partial) + sum(map(len, stream._data)) == 0


def test_an_event_of_the_longest_size_is_taken() -> None:
    data = b"x" * (event_stream.MOST_BYTES - len(b"data: "))
    (event,) = EventStream().feed(b"data: " + data + b"\n\n")
    assert event.data == data
    stream = EventStream()
    assert not stream.feed(b"data: x" + data + b"\n\n")
    assert stream.error == LINE_TOO_LONG


def test_a_stream_that_continues_another_begins_with_its_id() -> None:
    stream = EventStream(b"41")
    stream.feed(b"data: x\n\n")
    assert stream.last_id == b"41"
    assert stream.is_between
    stream.feed(b"id: 42\n")
    assert (stream.last_id, stream.is_between) == (b"41", False)
    stream.feed(b"\n")
    assert (stream.last_id, stream.is_between) == (b"42", True)


@pytest.mark.parametrize(
    ("last_id", "header"),
    [
        (b"", None),
        (b"7:1 a", "7:1 a"),
        (b"x" * MOST_ID_BYTES, "x" * MOST_ID_BYTES),
        (b"x" * (MOST_ID_BYTES + 1), None),
        ("ü".encode(), None),
        (b"a\tb", None),
        (b"a\x7f", None),
    ],
)
def test_an_id_that_a_header_cannot_hold_is_not_sent_back(last_id: bytes, header: str | None) -> None:
    stream = EventStream()
    stream.feed(b"id: " + last_id + b"\ndata: x\n\n")
    assert stream.last_id == last_id
    assert stream.header_id == header
