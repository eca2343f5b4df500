"""Fit a table into the width of a terminal: wrap its texts, break its names, or divide it into several tables."""

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Spaces between two columns.
GAP: Final = 2
#: Maximum characters per line of a name that is broken into lines. Names such as
#: `cloudflare-durable-objects:hibernating` have no spaces to break at.
_NAME: Final = 20
#: Minimum width of a column whose texts are wrapped; a narrower column would be hard to read.
_TEXT: Final = 14


@dataclass(frozen=True)
class Part:
    """Columns of a table that fit beside each other; line breaks are inserted in cells and titles that are too wide."""

    columns: tuple[str, ...]
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, names: Collection[str], keys: int = 1
) -> Iterator[Part]:
    """Yield the tables that show all of ``columns`` in ``width`` characters.

    ``names`` are the columns whose cells are broken after a hyphen or a colon. If the columns do not fit beside each
    other, each further table begins with the first ``keys`` columns again.
    """
    natural = [max(map(len, (title, *(row[place] for row in rows)))) for place, title in enumerate(columns)]
    if _total(natural) <= width:
        yield Part(tuple(columns), tuple(columns), tuple(map(tuple, rows)))
        return
    least = [
        _least([row[place] for row in rows], title, title in names) for place, title in enumerate(columns)
    ]
    for group in _groups(least, width, keys):
        widths = _widened([least[place] for place in group], [natural[place] for place in group], width)
        kinds = [(place, size, columns[place] in names) for place, size in zip(group, widths, strict=True)]
        yield Part(
            tuple(columns[place] for place in group),
            tuple(_wrapped(columns[place], size) for place, size, _ in kinds),
            tuple(
                tuple(
                    (_broken(row[place], size) if name else _wrapped(row[place], size))
                    for place, size, name in kinds
                )
                for row in rows
            ),
        )


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _least(cells: Sequence[str], title: str, name: bool) -> int:
    """Return the smallest width of a column in which no word is cut."""
    words = max((len(word) for text in (title, *(() if name else cells)) for word in text.split()), default=0)
    if name:
        return max([words, *(len(line) for cell in cells for line in _broken(cell, _NAME).split("\n"))])
    return max(words, min(_TEXT, max(map(len, (title, *cells)))))


def _groups(least: Sequence[int], width: int, keys: int) -> list[list[int]]:
    """Return the columns of each table: as few tables as fit, of about the same width."""
    groups = _filled(least, width, keys)
    for limit in range(width):
        if len(found := _filled(least, limit, keys)) == len(groups):
            return found
    return groups


def _filled(least: Sequence[int], width: int, keys: int) -> list[list[int]]:
    """Return the columns of each table: the key columns and as many others as fit in ``width``, at least one."""
    groups = [list(range(keys))]
    for place in range(keys, len(least)):
        if len(groups[-1]) > keys and _total([least[each] for each in (*groups[-1], place)]) > width:
            groups.append(list(range(keys)))
        groups[-1].append(place)
    return groups


def _widened(widths: list[int], natural: Sequence[int], width: int) -> list[int]:
    """Widen columns with the spare characters of ``width``; each goes to the column that lacks the most characters."""
    for _ in range(max(0, width - _total(widths))):
        lacking = max(range(len(widths)), key=lambda place: natural[place] - widths[place])
        if natural[lacking] <= widths[lacking]:
            break
        widths[lacking] += 1
    return widths


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _broken(name: str, width: int) -> str:
    """Break a name into lines of at most ``width`` where possible, only after a colon or a hyphen."""
    lines = [""]
    for piece in re.findall(r"[^:-]*[:-]|[^:-]+$", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)
