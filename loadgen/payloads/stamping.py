"""Put a body and a stamp together, and take the stamp out of a delivery again.

One :class:`Stamping` serves all publishers and connections of a worker. Making a body is the generator's own work, so
it is done before the event's sending time is taken. Afterwards :meth:`Body.sealed` only joins texts.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import msgspec

from loadgen import native
from loadgen.measure.stamp import PADDING_KEY, Parts, Stamp, joined, padding, usual_parts
from loadgen.payloads.integrity import canonical, canonical_bytes, checksum, decoded
from loadgen.payloads.place import Place, index_of, split, stamp_in
from loadgen.payloads.plans import PLAIN, Stamps
from loadgen.payloads.template import NOW_MARK, iso

#: The longest stamp in bytes: five numbers, and with a checksum a sixth.
LONGEST_STAMP_BYTES: Final = 82
LONGEST_CHECKED_STAMP_BYTES: Final = LONGEST_STAMP_BYTES + 11
#: Bytes of a typical stamp, for planning: a token of 10 digits, two times of 19 digits, and short numbers of publisher
#: and event.
_USUAL_STAMP_BYTES: Final = 62
_USUAL_CHECKSUM_BYTES: Final = 11
_NULL: Final = "null"
_MARK: Final = NOW_MARK.encode()
#: Matches member names without characters that JSON escapes; only these can be fields of a msgspec struct.
_WRITTEN_PLAINLY: Final = re.compile(r'[^"\\\x00-\x1f]*').fullmatch
_SURROGATE: Final = re.compile("[\ud800-\udfff]").search
#: Maximum number of names on the path to a stamp that the C code reads: `JSON_TOKENS_MAX` in
#: `loadgen/native/json_scan.h`.
_MOST_NATIVE_TOKENS: Final = 16
_Checked = tuple[int, int, int, int, int, int]
_to_stamp = msgspec.json.Decoder(Stamp).decode
_to_checked_stamp = msgspec.json.Decoder(_Checked).decode


class Marked(NamedTuple):
    """An event whose stamp travels outside its body, such as in a header."""

    body: bytes
    #: The stamp as JSON text.
    stamp: str


Event = str | Marked


def size_of(event: Event) -> int:
    """Return the size of an event in bytes; a stamp outside its body is not counted."""
    if isinstance(event, str):
        return len(event) if event.isascii() else len(event.encode())
    return len(event.body)


class Reading(NamedTuple):
    """The stamp of a delivery, and whether the event's content differs from what was sent."""

    stamp: Stamp
    altered: bool


class NativePlace(NamedTuple):
    """The place of stamps within events, for the C fast path."""

    #: The JSON keys (or list indices) on the path from the event to the stamp.
    tokens: tuple[str, ...]
    #: True if stamps contain a checksum.
    checked: bool


class Body:
    """The body of an event, without the stamp, which `sealed` adds."""

    __slots__ = ("parts",)

    def __init__(self, parts: Parts | None) -> None:
        #: The JSON text around the stamp; None if a subclass has to do more than join the stamp and this text.
        self.parts = parts

    def sealed(self, numbers: str, sent_ns: int) -> Event:
        """Return the stamped event; ``numbers`` are the five numbers of its stamp as text, separated by commas."""
        assert self.parts is not None
        return joined(self.parts, numbers)


class _Whole(Body):
    """A body that contains the stamp: the JSON text before and after it."""

    __slots__ = ("_canonical", "_checksum", "_head", "_tail", "_timed")

    def __init__(
        self, head: str, tail: str, timed: bool, checked: tuple[str, ...] | None, known: int | None
    ) -> None:
        super().__init__(None)
        self._head, self._tail, self._timed = head, tail, timed
        self._canonical: bytes | None = None
        self._checksum = known
        if checked is not None and known is None:
            content = canonical(f"{head}{_NULL}{tail}", checked)
            if timed:
                self._canonical = content
            self._checksum = checksum(content)
        if not timed:
            end = "]" if self._checksum is None else f",{self._checksum}]"
            self.parts = (f"{head}[", f"{end}{tail}", None)

    def sealed(self, numbers: str, sent_ns: int) -> Event:
        if not self._timed:
            return super().sealed(numbers, sent_ns)
        crc, now = self._checksum, iso(sent_ns)
        head, tail = self._head.replace(NOW_MARK, now), self._tail.replace(NOW_MARK, now)
        if self._canonical is not None:
            crc = checksum(self._canonical.replace(_MARK, now.encode()))
        return f"{head}[{numbers}]{tail}" if crc is None else f"{head}[{numbers},{crc}]{tail}"


class _Padded(Body):
    """A body that contains the stamp and is padded to a size: the JSON text before and after the stamp."""

    __slots__ = ("_checksum_of", "_head", "_room", "_tail")

    def __init__(
        self, head: str, tail: str, size_bytes: int, checksum_of: Callable[[str, str, int], int] | None
    ) -> None:
        super().__init__(None)
        # The padding is the last member of the event.
        self._head, self._tail = head, tail[:-1]
        self._checksum_of = checksum_of
        empty = len(f'{head}{tail[:-1]},"{PADDING_KEY}":""}}'.encode())
        self._room = size_bytes - empty - (_USUAL_CHECKSUM_BYTES if checksum_of else 0)
        if checksum_of is None:
            self.parts = (f"{head}[", f"]{self._tail}", self._room - 2)

    def sealed(self, numbers: str, sent_ns: int) -> Event:
        if self._checksum_of is None:
            return super().sealed(numbers, sent_ns)
        length = self._room - len(numbers) - 2
        crc = f",{self._checksum_of(self._head, self._tail, length)}"
        return f"{self._head}[{numbers}{crc}]{self._tail}{padding(length)}}}"


class _Beside(Body):
    """A body whose stamp travels outside it, such as in a header."""

    __slots__ = ("_checked", "_content", "_known", "_timed")

    def __init__(self, content: bytes, timed: bool, checked: bool) -> None:
        super().__init__(None)
        self._content, self._timed, self._checked = content, timed, checked
        self._known = checksum(content) if checked and not timed else None

    def sealed(self, numbers: str, sent_ns: int) -> Marked:
        content = self._content.replace(_MARK, iso(sent_ns).encode()) if self._timed else self._content
        if not self._checked:
            return Marked(content, f"[{numbers}]")
        crc = checksum(content) if self._known is None else self._known
        return Marked(content, f"[{numbers},{crc}]")


def plain(size_bytes: int, members: str = "") -> Body:
    """Return the body of an event with the stamp in its default place; see `measure.stamp.usual_parts`."""
    return Body(usual_parts(size_bytes, members))


def stamped(
    token: int,
    publisher: int,
    sequences: Sequence[int],
    intended_ns: int,
    sent_ns: int,
    bodies: Sequence[Body],
) -> tuple[Sequence[Event], Sequence[int]]:
    """Return the events of a request, and the size of each as `size_of` returns it."""
    if native.available:
        parts = [body.parts for body in bodies]
        if None not in parts:
            return native.stamped(token, publisher, sequences, intended_ns, sent_ns, cast(Any, parts))
    before, after = f"{token},{publisher}", f"{intended_ns},{sent_ns}"
    events = [
        body.sealed(f"{before},{sequence},{after}", sent_ns)
        for sequence, body in zip(sequences, bodies, strict=True)
    ]
    return events, [size_of(event) for event in events]


class Stamping:
    """Adds the stamps of a run to events and reads them from deliveries."""

    def __init__(self, stamps: Stamps = PLAIN) -> None:
        self.stamps = stamps
        place = stamps.place
        #: True if the stamp is in its default place and has no checksum; then `plain` and `decode_event`, the fastest
        #: ways to make and read events, can be used.
        self.plain = stamps.are_plain
        #: The place of the stamp for the C fast path, or None if the fast path cannot read the stamp there.
        self.native_place = native_place(stamps)
        #: True if a stamp travels outside its event's body.
        self.beside = place.beside
        self._tokens = () if place.beside else place.tokens
        self._checked = self._tokens if stamps.integrity and not place.beside else None
        #: Reads an event whose body contains the stamp. Raises one of `NOT_OURS` if the body has no stamp.
        self.read: Callable[[str | bytes], Reading] = (
            _refuse if place.beside else _reader(self._tokens, stamps.integrity)
        )

    # The following methods make bodies. A body is made before its event's sending time is taken.

    def whole(self, head: str, tail: str, timed: bool = False, known: int | None = None) -> Body:
        """Return a body from the JSON text before and after the stamp; ``known`` is the body's checksum if known."""
        return _Whole(head, tail, timed, self._checked, known)

    def content(self, content: bytes, timed: bool = False) -> Body:
        """Return a body whose stamp travels outside it, such as in a header."""
        return _Beside(content, timed, self.stamps.integrity)

    def padded(self, size_bytes: int, members: str = "") -> Body:
        """Return the body of an event: ``members`` (JSON text without braces) and padding up to ``size_bytes``.

        If stamp and members leave no room for padding, the event is not padded. With a checksum the event may be a few
        bytes shorter.

        Raises:
            PlaceError: the members leave no place for the stamp.
        """
        if self.beside:
            length = size_bytes - len(bare_of(members).encode()) - len(padding(0)) + (0 if members else 1)
            pad = padding(length)
            return self.content(f"{{{members}{pad if members else pad[1:]}}}".encode())
        head, tail = (
            _padded_ends(members, self._tokens) if not members else split(bare_of(members), self._tokens)
        )
        return _Padded(head, tail, size_bytes, self._padded_checksum if self._checked else None)

    def example(self, content: bytes) -> Body:
        """Return the body of a single event, such as a readiness probe; raises PlaceError if the stamp has no place."""
        return self.content(content) if self.beside else self.whole(*split(content.decode(), self._tokens))

    def _padded_checksum(self, head: str, tail: str, length: int) -> int:
        assert self._checked is not None
        return _checksum_of_padded(head, tail, length, self._checked)

    # The following methods read stamps, or add stamps to events just before an open connection sends them.

    def event(
        self, token: int, publisher: int, sequence: int, intended_ns: int, sent_ns: int, body: Body
    ) -> Event:
        """Return the stamped event."""
        return body.sealed(f"{token},{publisher},{sequence},{intended_ns},{sent_ns}", sent_ns)

    def read_beside(self, stamp: str | bytes, body: bytes) -> Reading:
        """Read a delivery whose stamp came outside its body; raises one of `NOT_OURS` if the stamp is not valid."""
        if not self.stamps.integrity:
            return Reading(_to_stamp(stamp), False)
        *numbers, crc = _to_checked_stamp(stamp)
        return Reading(tuple(numbers), crc != checksum(body))


def usual_bytes(stamps: Stamps, around_bytes: int) -> int:
    """Return the size in bytes of an event with a stamp of typical length and ``around_bytes`` bytes of other text."""
    if stamps.place.beside:
        return max(1, around_bytes)
    return around_bytes + _USUAL_STAMP_BYTES + (_USUAL_CHECKSUM_BYTES if stamps.integrity else 0)


def most_bytes(stamps: Stamps, around_bytes: int) -> int:
    """Return the size of an event with the longest stamp and ``around_bytes`` bytes of other text."""
    if stamps.place.beside:
        return around_bytes
    return around_bytes + (LONGEST_CHECKED_STAMP_BYTES if stamps.integrity else LONGEST_STAMP_BYTES)


#: The exceptions that functions for reading stamps raise if an event has no stamp of this harness.
NOT_OURS: Final = (msgspec.MsgspecError, UnicodeError, KeyError, ValueError, OverflowError, RecursionError)


def bare_of(members: str) -> str:
    """Return JSON members (text without braces) as the text of a JSON object."""
    return f"{{{members}}}"


@lru_cache(maxsize=64)
def _padded_ends(members: str, tokens: tuple[str, ...]) -> tuple[str, str]:
    return split(bare_of(members), tokens)


@lru_cache(maxsize=4096)
def _checksum_of_padded(head: str, tail: str, length: int, tokens: tuple[str, ...]) -> int:
    return checksum(canonical(f"{head}{_NULL}{tail}{padding(length)}}}", tokens))


def native_place(stamps: Stamps) -> NativePlace | None:
    """Return the place of stamps for `loadgen.native`.

    Return None if the C code does not support the place: it is outside the body, too deep, or has unusual names.
    """
    if stamps.place.beside or len(tokens := stamps.place.tokens) > _MOST_NATIVE_TOKENS:
        return None
    usual = all(_WRITTEN_PLAINLY(name) and not _SURROGATE(name) for name in tokens)
    return NativePlace(tokens, stamps.integrity) if usual else None


def numbers_reader(place: Place) -> Callable[[str | bytes], tuple[int, int, int]]:
    """Return a function that reads the token, publisher and sequence of an event's stamp, with a checksum or without.

    It raises one of `NOT_OURS` for an event without a stamp, and for every event if stamps travel outside the body.
    """
    if place.beside:
        return _no_numbers
    values = _values_reader(place.tokens, list[int])

    def read(text: str | bytes) -> tuple[int, int, int]:
        stamp = values(text)
        if len(stamp) not in (5, 6):
            raise ValueError("no stamp")
        return stamp[0], stamp[1], stamp[2]

    return read


def _no_numbers(text: str | bytes) -> tuple[int, int, int]:
    raise KeyError("stamp")


def _refuse(text: str | bytes) -> Reading:
    raise KeyError("stamp")


@lru_cache(maxsize=64)
def _reader(tokens: tuple[str, ...], integrity: bool) -> Callable[[str | bytes], Reading]:
    if integrity:
        return _checking_reader(tokens)
    values = _values_reader(tokens, Stamp)
    return lambda text: Reading(values(text), False)


def _values_reader(tokens: tuple[str, ...], kind: Any) -> Callable[[str | bytes], Any]:
    """Return a function that reads from an event the value, of type ``kind``, at the path ``tokens``."""
    if any(index_of(name) is not None or not _WRITTEN_PLAINLY(name) for name in tokens):
        decode = msgspec.json.decode
        return lambda text: msgspec.convert(stamp_in(decode(text), tokens)[0], kind)
    decode_struct = msgspec.json.Decoder(_struct(tokens, kind)).decode
    depth = len(tokens)

    def read(text: str | bytes) -> Any:
        value: Any = decode_struct(text)
        for _ in range(depth):
            value = value.f
        return value

    return read


def _struct(tokens: tuple[str, ...], kind: Any) -> Any:
    """Return a struct of only the members on the path to a value; the decoder skips all others."""
    for token in reversed(tokens):
        kind = msgspec.defstruct("Stamped", [("f", kind, msgspec.field(name=token))], gc=False)
    return kind


def _checking_reader(tokens: tuple[str, ...]) -> Callable[[str | bytes], Reading]:
    def read(text: str | bytes) -> Reading:
        value = decoded(text)
        stamp, parent, key = stamp_in(value, tokens)
        *numbers, crc = msgspec.convert(stamp, _Checked)
        parent[key] = None
        return Reading(tuple(numbers), crc != checksum(canonical_bytes(value)))

    return read
