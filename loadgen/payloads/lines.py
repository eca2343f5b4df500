"""Prepares the messages of a file with one JSON object per line, and picks the next message of a publisher.

Each message is split at the stamp's place once, so that sending only joins its two parts with the stamp.
"""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from loadgen.data.cells import at_path
from loadgen.data.errors import DataError
from loadgen.payloads.integrity import canonical, checksum
from loadgen.payloads.place import PlaceError, split
from loadgen.payloads.plans import Lines, SizeShare, Stamps
from loadgen.payloads.sizes import shares_of
from loadgen.payloads.stamping import most_bytes, usual_bytes

if TYPE_CHECKING:
    from loadgen.data.readers import Row
    from loadgen.data.table import Table

HEAD, TAIL, CHECKSUM, UNTIL, BYTES = "head", "tail", "checksum", "until", "bytes"
#: Columns of a table of messages: the text before the stamp, the text after the stamp, the checksum or null, the sum of
#: the weights up to and including this message, and the bytes of both texts.
COLUMNS: Final = (HEAD, TAIL, CHECKSUM, UNTIL, BYTES)
_MOST_PROBLEMS: Final = 10
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def table_name(group: str) -> str:
    """Return the name of the table with a group's messages; no other table has this name, since it contains spaces."""
    return f"payload of {group}"


def prepared(
    rows: "Iterable[Row]",
    stamps: Stamps,
    *,
    name: str,
    weight: str | None = None,
    limit_bytes: int | None = None,
) -> "Iterator[Row]":
    """Yield a row with the values of `COLUMNS` for each message; each of ``rows`` is the text of one JSON object.

    ``weight`` names the member with a message's weight, which is left out of the message. ``name`` is the file's name
    in error texts.

    Raises:
        DataError: lines have no place for the stamp, no valid weight, or are too large; the text names the first ten.
    """
    wrong: list[str] = []
    until = 0.0
    for line, (text,) in rows:
        try:
            row, share = _prepared(text, stamps, weight, limit_bytes)
        except RecursionError:
            raise DataError([f"{name}:{line}: the message is nested too deep"]) from None
        except (PlaceError, _WrongLineError) as error:
            wrong.append(f"{name}:{line}: the message {error}")
            if len(wrong) == _MOST_PROBLEMS:
                raise DataError([*wrong, f"{name}: and perhaps more"]) from None
            continue
        until += share
        yield line, (*row[:3], until, row[3])
    if wrong:
        raise DataError(wrong)
    if weight is not None and not until:
        raise DataError([f"{name}: all weights are 0; give at least one message a weight above 0"])


class _WrongLineError(Exception):
    """A message of a file cannot be used; the text completes a sentence that begins with the message's line."""


def _prepared(
    text: str, stamps: Stamps, weight: str | None, limit_bytes: int | None
) -> tuple[tuple[str, str, int | None, int], float]:
    share = 1.0
    if weight is not None:
        text, share = _weighed(text, weight)
    place = stamps.place
    if place.beside:
        head, tail = "", text
        crc = checksum(text.encode()) if stamps.integrity else None
    else:
        head, tail = split(text, place.tokens)
        crc = checksum(canonical(f"{head}null{tail}", place.tokens)) if stamps.integrity else None
    size = len(head.encode()) + len(tail.encode())
    most = most_bytes(stamps, size)
    if limit_bytes is not None and most > limit_bytes:
        raise _WrongLineError(
            f"is too large: with its stamp up to {most:,} bytes, and the service takes {limit_bytes:,}; shorten it"
        )
    return (head, tail, crc, size), share


def _weighed(text: str, name: str) -> tuple[str, float]:
    members = _members(text)
    try:
        value: Any = msgspec.json.decode(members[name] if name in members else _nested(members, name))
    except KeyError:
        raise _WrongLineError(f"has no member {name!r}, which 'weight' names") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise _WrongLineError(f"has a weight that is no number from 0 on: its member {name!r}")
    if name in members:
        del members[name]
        others = (f"{msgspec.json.encode(key).decode()}:{str(raw, 'utf-8')}" for key, raw in members.items())
        text = f"{{{','.join(others)}}}"
    return text, float(value)


def _nested(members: dict[str, msgspec.Raw], name: str) -> msgspec.Raw:
    head, dot, rest = name.partition(".")
    if not dot:
        raise KeyError(name)
    return msgspec.Raw(
        msgspec.json.encode(at_path({head: msgspec.json.decode(members[head])}, f"{head}.{rest}"))
    )


def shares_in(table: "Table", stamps: Stamps, by_weight: bool) -> tuple[SizeShare, ...]:
    """Return the sizes of a table's messages, in proportion to how often each is picked."""

    def sizes() -> Iterator[tuple[int, float]]:
        before = 0.0
        for size, until in zip(table.values(BYTES), table.values(UNTIL), strict=True):
            yield usual_bytes(stamps, size), until - before if by_weight else 1.0
            before = until

    return shares_of(sizes())


def picker(
    lines: Lines, table: "Table | None", *, seed: str, group: str, number: int, index: int, clients: int
) -> Callable[[], int]:
    """Return a function that gives the row of a publisher's next message.

    `in-turn`: the group's events take the messages one after another; the order is exact only while all clients of the
    group publish at the same rate. `random`: drawn at random, all with equal probability. `by-weight`: drawn at random,
    in proportion to their weights.
    """
    if lines.pick == "in-turn":
        following = index - clients

        def in_turn() -> int:
            nonlocal following
            following += clients
            return following % lines.rows

        return in_turn
    draw = Random(f"{seed}/payload/{group}/{number}").random
    if lines.pick == "random":
        return lambda: int(draw() * lines.rows)
    assert table is not None
    total = float(table.cell(UNTIL, lines.rows - 1))

    def by_weight() -> int:
        wanted = draw() * total
        low, high = 0, lines.rows - 1
        while low < high:
            middle = (low + high) // 2
            if float(table.cell(UNTIL, middle)) > wanted:
                high = middle
            else:
                low = middle + 1
        return low

    return by_weight
