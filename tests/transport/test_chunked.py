"""Test reading chunked bodies: chunks divided in any way, and bytes that are not chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport.chunked import MOST_LINE_BYTES, MOST_TRAILER_BYTES, Body


def fed(body: Body, *parts: bytes) -> bytes:
    return b"".join(body.feed(part)[0] for part in parts)


def chunked(
    parts: list[bytes], *, extension: bytes = b"", trailers: bytes = b"", upper: bool = False
) -> bytes:
    form = b"%X" if upper else b"%x"
    chunks = [(form % len(part)) + extension + b"\r\n" + part + b"\r\n" for part in parts if part]
    return b"".join(chunks) + b"0" + extension + b"\r\n" + trailers + b"\r\n"


@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.sampled_from([b"", b";a=b", b' ; name="v w"', b"  "]),
    st.sampled_from([b"", b"expires: never\r\n", b"a: b\r\nc: d\r\n"]),
    st.booleans(),
    st.data(),
)
def test_chunks_in_any_division_are_the_same_body(
    parts: list[bytes], extension: bytes, trailers: bytes, upper: bool, data: st.DataObject
) -> None:
    stream = chunked(parts, extension=extension, trailers=trailers, upper=upper)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    body = Body(chunked=True)
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert fed(body, *pieces) == b"".join(parts)
    assert (body.ended, body.is_whole, body.error) == (True, True, None)
    assert body.feed(b"more") == (b"", False)
    part_way = Body(chunked=True)
    fed(part_way, stream[: data.draw(st.integers(0, len(stream) - 1))])
    assert not part_way.is_whole


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_never_raise(parts: list[bytes]) -> None:
    for body in (Body(chunked=True), Body(chunked=False), Body(chunked=False, length=10)):
        fed(body, *parts)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"xyz\r\n", "a chunk without a size"),
        (b"\r\n", "a chunk without a size"),
        (b"-1\r\n", "a chunk without a size"),
        (b"0x5\r\n", "a chunk without a size"),
        (b"11112222333344445\r\n", "a chunk without a size"),
        (b"2\r\nabc\r\n", "a chunk that is longer than its size says"),
        (b"2\r\nabx", "a chunk that is longer than its size says"),
        (b"5" * MOST_LINE_BYTES + b"55", "a line of more than 4,096 bytes where a chunk's size should be"),
        (b"5;" + b"x" * MOST_LINE_BYTES + b"\r\n", "a line of more than 4,096 bytes"),
        (b"0\r\n" + b"a: b\r\n" * MOST_TRAILER_BYTES, "trailers of more than 16,384 bytes"),
    ],
)
@pytest.mark.parametrize("by_one", [False, True])
def test_what_is_no_chunk_is_named(stream: bytes, said: str, by_one: bool) -> None:
    body = Body(chunked=True)
    fed(body, *([stream[at : at + 1] for at in range(len(stream))] if by_one else [stream]))
    assert body.error is not None
    assert body.error.startswith(said)
    assert not body.ended


def test_a_body_without_chunks_ends_with_its_length_or_with_the_connection() -> None:
    body = Body(chunked=False, length=5)
    assert body.feed(b"abc") == (b"abc", True)
    assert not body.is_whole
    assert body.feed(b"defg") == (b"de", False)
    assert body.ended
    endless = Body(chunked=False)
    assert endless.feed(b"abc") == (b"abc", True)
    assert endless.is_whole


def test_the_last_byte_of_the_body_is_told_from_the_last_byte_of_the_read() -> None:
    body = Body(chunked=True)
    assert body.feed(b"3\r\nabc") == (b"abc", True)
    assert body.feed(b"\r\n2\r\nde\r\n") == (b"de", False)
    assert body.feed(b"2\r\nfg\r\n3\r\nhi") == (b"fghi", True)
    assert body.feed(b"") == (b"", False)
