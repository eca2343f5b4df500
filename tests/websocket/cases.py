"""The cases: frames that one side sends, and how the other side must react.

They cover sections 1 to 7, 9 and 10 of the Autobahn test suite: lengths, pings, reserved bits, opcodes,
fragments, UTF-8, the closing handshake, and limits. The cases were written from RFC 6455 and RFC 3629.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN: Final = 0x80
NORMAL, PROTOCOL, INVALID, TOO_BIG = 1000, 1002, 1007, 1009
#: Both sides accept messages of up to this size.
MOST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Frame:
    """A frame to send. If ``mask`` is None, it is masked if its sender is a client (RFC 6455, 5.3)."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    mask: bool | None = None
    #: A false length for the header, or None for the true one.
    length: int | None = None

    def bytes(self, *, masked: bool) -> bytes:
        """Return the frame on the wire."""
        first = (FIN if self.fin else 0) | self.reserved << 4 | self.opcode
        masked = masked if self.mask is None else self.mask
        size = len(self.payload) if self.length is None else self.length
        flag = 0x80 if masked else 0
        if size < 126:
            head = bytes([first, flag | size])
        elif size < 65536:
            head = struct.pack("!BBH", first, flag | 126, size)
        else:
            head = struct.pack("!BBQ", first, flag | 127, size)
        if not masked:
            return head + self.payload
        key = b"\x01\x82\x43\xc4"
        whole = int.from_bytes(self.payload, "big")
        pad = (key * (len(self.payload) // 4 + 1))[: len(self.payload)]
        return head + key + (whole ^ int.from_bytes(pad, "big")).to_bytes(len(self.payload), "big")


@dataclass(frozen=True)
class Case:
    """Frames to send, and how the receiver must react."""

    name: str
    frames: tuple[Frame, ...]
    #: Messages that the receiver must accept, in order.
    messages: tuple[bytes, ...] = ()
    #: The last ping, which the receiver must answer, or None.
    pong: bytes | None = None
    #: Allowed codes of the receiver's close frame, or None if the connection stays open. 1005 stands for a
    #: close frame without a code (RFC 6455, 7.1.5).
    closes: frozenset[int] | None = None
    #: True if the receiver must fail the connection, None if it may, False if it must not.
    fails: bool | None = False
    #: Size of the parts in which the bytes are written, or 0 for all at once.
    parts: int = 0
    tags: frozenset[str] = field(default_factory=frozenset)


def close(code: int | None = None, reason: bytes = b"") -> Frame:
    """Return a close frame."""
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def fragments(opcode: int, parts: Iterable[bytes]) -> tuple[Frame, ...]:
    """Return a message in fragments."""
    pieces = list(parts)
    return tuple(
        Frame(opcode if at == 0 else CONT, piece, fin=at == len(pieces) - 1)
        for at, piece in enumerate(pieces)
    )


def _failing(name: str, code: int, *frames: Frame, messages: tuple[bytes, ...] = ()) -> Case:
    return Case(name, frames, messages, closes=frozenset({code}), fails=True)


def _sizes() -> Iterator[Case]:
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536):
        for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
            payload = (b"*" if opcode == TEXT else b"\xfe") * size
            yield Case(f"{name} of {size} bytes", (Frame(opcode, payload),), (payload,))
    yield Case(
        "text of 65536 bytes in parts of 997", (Frame(TEXT, b"*" * 65536),), (b"*" * 65536,), parts=997
    )
    yield Case(
        "binary of 65536 bytes in parts of 997", (Frame(BINARY, b"\0" * 65536),), (b"\0" * 65536,), parts=997
    )


def _pings() -> Iterator[Case]:
    for name, payload in (
        ("without a payload", b""), ("with text", b"Hello"), ("with any bytes", b"\0\xff\xfe\xfd\xfc"),
        ("of 125 bytes", b"\xfe" * 125),
    ):  # fmt: skip
        yield Case(f"ping {name}", (Frame(PING, payload),), pong=payload)
        yield Case(f"pong {name} that nobody asked for", (Frame(PONG, payload), Frame(PING, b"x")), pong=b"x")
        yield Case(f"ping {name} by single bytes", (Frame(PING, payload),), pong=payload, parts=1)
    for opcode, name in ((PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
        payload = (struct.pack("!H", NORMAL) if opcode == CLOSE else b"") + b"x" * (
            124 if opcode == CLOSE else 126
        )
        yield _failing(f"{name} of 126 bytes", PROTOCOL, Frame(opcode, payload))
        yield _failing(f"{name} that says 2^40 bytes", PROTOCOL, Frame(opcode, b"", length=1 << 40))
    ten = tuple(Frame(PING, b"payload-%d" % number) for number in range(10))
    yield Case("ten pings", ten, pong=b"payload-9")
    yield Case("ten pings by single bytes", ten, pong=b"payload-9", parts=1)


def _reserved() -> Iterator[Case]:
    for bits in range(1, 8):
        for opcode, name in (
            (TEXT, "text"),
            (BINARY, "binary"),
            (PING, "ping"),
            (PONG, "pong"),
            (CLOSE, "close"),
        ):
            payload = struct.pack("!H", NORMAL) if opcode == CLOSE else b"x"
            faulty = Frame(opcode, payload, reserved=bits)
            yield _failing(f"reserved bits {bits} in a {name} frame", PROTOCOL, Frame(TEXT, b"ok"), faulty,
                           Frame(PING, b"no"), messages=(b"ok",))  # fmt: skip
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved"):
            yield _failing(f"reserved opcode {opcode} with {len(payload)} bytes", PROTOCOL, Frame(TEXT, b"ok"),
                           Frame(opcode, payload), Frame(PING, b"no"), messages=(b"ok",))  # fmt: skip


def _fragmented() -> Iterator[Case]:
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        two = fragments(opcode, (b"fragment1", b"fragment2"))
        whole = (b"fragment1fragment2",)
        yield Case(f"{name} in two fragments", two, whole)
        yield Case(f"{name} in two fragments by single bytes", two, whole, parts=1)
        yield Case(
            f"{name} with a ping between fragments", (two[0], Frame(PING, b"mid"), two[1]), whole, pong=b"mid"
        )
        yield Case(f"{name} with a pong between fragments", (two[0], Frame(PONG, b"mid"), two[1]), whole)
        yield Case(
            f"{name} in five fragments with pings",
            tuple(
                each
                for at, one in enumerate(fragments(opcode, [b"%d" % at for at in range(5)]))
                for each in (one, Frame(PING, b"p%d" % at))
            ),
            (b"01234",), pong=b"p4",
        )  # fmt: skip
        yield Case(f"{name} in empty fragments", fragments(opcode, (b"", b"", b"")), (b"",))
        yield Case(f"{name} between empty fragments", fragments(opcode, (b"", b"x", b"")), (b"x",))
        yield Case(f"{name} in fragments, then whole", (*two, Frame(opcode, b"x")), (*whole, b"x"))
        for first in (b"fragment1", b""):
            for second in (TEXT, BINARY):
                yield _failing(
                    f"opcode {second} within {name} that began with {len(first)} bytes", PROTOCOL,
                    Frame(opcode, first, fin=False), Frame(second, b"fragment2"),
                )  # fmt: skip
                yield _failing(
                    f"beginning of opcode {second} within {name} that began with {len(first)} bytes", PROTOCOL,
                    Frame(opcode, first, fin=False), Frame(second, b"fragment2", fin=False),
                )  # fmt: skip
        yield _failing(
            f"continuation after {name} in fragments", PROTOCOL, *two, Frame(CONT, b"more"), messages=whole
        )
    for fin in (True, False):
        yield _failing(f"continuation of nothing, final: {fin}", PROTOCOL, Frame(CONT, b"x", fin=fin))
        yield _failing(f"empty continuation of nothing, final: {fin}", PROTOCOL, Frame(CONT, b"", fin=fin))
        yield _failing(
            f"continuation after a whole message, final: {fin}", PROTOCOL, Frame(TEXT, b"ok"),
            Frame(CONT, b"x", fin=fin), messages=(b"ok",),
        )  # fmt: skip
    for opcode, name in ((PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
        payload = struct.pack("!H", NORMAL) if opcode == CLOSE else b"fragment1"
        yield _failing(f"fragmented {name}", PROTOCOL, Frame(opcode, payload, fin=False))


#: Valid UTF-8: the first and last character of each length, those next to the surrogates, and non-characters.
VALID: Final = {
    "a Greek word": "κόσμε".encode(),
    "many scripts": "Hello-µ@ßöäüàá-UTF-8!! 日本語 😀".encode(),
    **{
        f"U+{code:04X}": chr(code).encode()
        for code in (
            0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0xFDD0, 0x10000, 0x1FFFE, 0x10FFFF,
        )
    },
}  # fmt: skip
#: Bytes that are not UTF-8 (RFC 3629, sections 3 and 4).
INVALID_TEXTS: Final = {
    "surrogate within text": b"\xce\xba\xcf\x8c\xcf\x83\xed\xa0\x80edited",
    "five-byte sequence": b"\xf8\x88\x80\x80\x80",
    "six-byte sequence": b"\xfc\x84\x80\x80\x80\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "first byte F5": b"\xf5\x80\x80\x80",
    "byte FE": b"\xfe",
    "byte FF": b"\xff",
    "FE FE FF FF": b"\xfe\xfe\xff\xff",
    "continuation alone": b"\x80",
    "last continuation alone": b"\xbf",
    "two continuations": b"\x80\xbf",
    "all continuations": bytes(range(0x80, 0xC0)),
    "first bytes of two": b"\xc3 \xc4 ",
    "first bytes of three": b"\xe0 \xe1 ",
    "first bytes of four": b"\xf0 \xf1 ",
    "two of three bytes": b"\xe2\x82",
    "three of four bytes": b"\xf0\x9f\x98",
    "one of two bytes, then text": b"\xc3(",
    "two of three bytes, then text": b"\xe2\x82(",
    "overlong slash in two bytes": b"\xc0\xaf",
    "overlong slash in three bytes": b"\xe0\x80\xaf",
    "overlong slash in four bytes": b"\xf0\x80\x80\xaf",
    "longest overlong of two bytes": b"\xc1\xbf",
    "longest overlong of three bytes": b"\xe0\x9f\xbf",
    "longest overlong of four bytes": b"\xf0\x8f\xbf\xbf",
    "overlong null": b"\xc0\x80",
    "first high surrogate": b"\xed\xa0\x80",
    "last low surrogate": b"\xed\xbf\xbf",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
}


def _utf8() -> Iterator[Case]:
    for name, text in VALID.items():
        yield Case(f"valid: {name}", (Frame(TEXT, text),), (text,))
        yield Case(f"valid, by single bytes: {name}", (Frame(TEXT, text),), (text,), parts=1)
        for at in range(1, min(len(text), 9)):
            yield Case(f"valid, divided at {at}: {name}", fragments(TEXT, (text[:at], text[at:])), (text,))
        each = fragments(TEXT, [text[at : at + 1] for at in range(len(text))])
        yield Case(f"valid, each byte a fragment: {name}", each, (text,))
    for name, text in INVALID_TEXTS.items():
        good = Frame(TEXT, b"ok")
        yield _failing(f"invalid: {name}", INVALID, good, Frame(TEXT, text), messages=(b"ok",))
        padded = b"x" * 200 + text + b"y" * 200
        # Text cut off at its end may become valid with the bytes after it.
        if padded != text:
            yield _failing(f"invalid, within a longer text: {name}", INVALID, Frame(TEXT, padded))
        yield _failing(
            f"invalid, in fragments: {name}", INVALID, *fragments(TEXT, (b"begun", text[:1], text[1:]))
        )
        yield Case(f"binary may be anything: {name}", (Frame(BINARY, text),), (text,))


VALID_CODES: Final = (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4999,
)
#: Codes that no endpoint may send (RFC 6455, 7.4), and undefined codes.
INVALID_CODES: Final = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def _closes() -> Iterator[Case]:
    normal = frozenset({NORMAL})
    yield Case("message, then close", (Frame(TEXT, b"x"), close(NORMAL)), (b"x",), closes=normal)
    yield Case("two closes", (close(NORMAL), close(1001)), closes=normal)
    yield Case("ping after the close", (close(NORMAL), Frame(PING, b"late")), closes=normal)
    yield Case("text after the close", (close(NORMAL), Frame(TEXT, b"late")), closes=normal)
    yield Case(
        "long message, then close",
        (Frame(TEXT, b"x" * 262_144), close(NORMAL)),
        (b"x" * 262_144,),
        closes=normal,
    )
    begun = Frame(TEXT, b"begun", fin=False)
    # RFC 6455, 5.4, allows control frames within a message, but does not say what a close frame there means.
    yield Case(
        "close within a message",
        (begun, close(NORMAL), Frame(CONT, b"late")),
        closes=frozenset({NORMAL, PROTOCOL}),
        fails=None,
    )
    yield Case("close without a code", (close(),), closes=frozenset({1000, 1005}))
    yield _failing("close of one byte", PROTOCOL, Frame(CLOSE, b"\x03"))
    for code in VALID_CODES:
        for reason in (b"", b"why"):
            yield Case(
                f"close code {code} {reason.decode()}".strip(),
                (close(code, reason),),
                closes=frozenset({code, NORMAL}),
            )
    for code in INVALID_CODES:
        yield _failing(f"close code {code}, which may not be sent", PROTOCOL, close(code))
        yield _failing(
            f"close code {code}, which may not be sent, with a reason", PROTOCOL, close(code, b"why")
        )
    for reason in (b"x" * 123, "κόσμε".encode()):
        yield Case(f"close with a reason of {len(reason)} bytes", (close(NORMAL, reason),), closes=normal)
    for name, text in INVALID_TEXTS.items():
        yield _failing(f"close with a reason that is not UTF-8: {name}", INVALID, close(NORMAL, text))


def _limits() -> Iterator[Case]:
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        for size in (262_144, 1_048_576, MOST_BYTES):
            yield Case(f"{name} of {size:,} bytes", (Frame(opcode, b"*" * size),), (b"*" * size,))
        yield _failing(f"{name} of one byte too many", TOO_BIG, Frame(opcode, b"*" * (MOST_BYTES + 1)))
        yield _failing(f"{name} that says 2^62 bytes", TOO_BIG, Frame(opcode, b"", length=1 << 62))
        for size in (64, 4096, 65536):
            parts = [b"*" * size] * (262_144 // size)
            yield Case(
                f"{name} of 262,144 bytes in fragments of {size}", fragments(opcode, parts), (b"*" * 262_144,)
            )
        long = [b"*" * 65_536] * (MOST_BYTES // 65_536)
        yield Case(
            f"{name} of fragments that are as long as may be", fragments(opcode, long), (b"*" * MOST_BYTES,)
        )
        yield _failing(f"{name} of fragments that grow too long", TOO_BIG, *fragments(opcode, [*long, b"*"]))


def _masks() -> Iterator[Case]:
    """Yield frames with wrong masking (tag `wrong mask`): a server's with a mask, a client's without."""
    for opcode, name in ((TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (CLOSE, "close")):
        payload = struct.pack("!H", NORMAL) if opcode == CLOSE else b"abc"
        case = _failing(f"{name} with the wrong masking", PROTOCOL, Frame(opcode, payload))
        yield Case(case.name, case.frames, closes=case.closes, fails=True, tags=frozenset({"wrong mask"}))


CASES: Final = tuple(
    case
    for part in (_sizes, _pings, _reserved, _fragmented, _utf8, _closes, _limits, _masks)
    for case in part()
)


def stream(case: Case, *, masked: bool) -> list[bytes]:
    """Return the bytes to send, cut into the case's parts; ``masked`` is True if this sender must mask its frames."""
    masks = not masked if "wrong mask" in case.tags else masked
    data = b"".join(frame.bytes(masked=masks) for frame in case.frames)
    size = case.parts or max(1, len(data))
    return [data[at : at + size] for at in range(0, len(data), size)]


def frames_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (opcode, payload) of the complete frames in received bytes, masked or not."""
    at = 0
    while len(data) - at >= 2:
        opcode, flags = data[at] & 0x0F, data[at + 1]
        size, begin = flags & 0x7F, at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, begin = int.from_bytes(data[begin : begin + wide], "big"), begin + wide
        key = b""
        if flags & 0x80:
            key, begin = data[begin : begin + 4], begin + 4
        if begin + size > len(data):
            return
        payload = data[begin : begin + size]
        if key:
            payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
        yield opcode, payload
        at = begin + size
