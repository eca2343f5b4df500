"""Test that a wide table is shown whole in a narrow terminal, with no word cut."""

from collections.abc import Sequence
from string import ascii_lowercase, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.planning.services.fitting import GAP, Part, fitted

_COLUMNS = ("service", "a run", "an hour", "remark")
_ROWS = (
    ("cloudflare-durable-objects:hibernating", "$0.00054 + $5.00 a month", "$2.41 – $24.42", "sure"),
    ("ably:mau", "$0 + $424.50 a month", "$62.45", "beyond a quota (messages published and delivered)"),
)
_WORDS = st.text(ascii_lowercase + digits, min_size=1, max_size=12)
_NAMES = st.builds(
    lambda words, marks: (
        words[0] + "".join(mark + word for mark, word in zip(marks, words[1:], strict=False))
    ),
    st.lists(_WORDS, min_size=1, max_size=4),
    st.text("-:", min_size=3, max_size=3),
)
_TEXTS = st.lists(st.text(ascii_lowercase + digits + "$.,()", min_size=1, max_size=12), max_size=8).map(
    " ".join
)


def widest(part: Part) -> int:
    """Return the width in characters of a printed table, or of one part of a table that was split."""
    lines = [
        max(len(line) for cell in cells for line in cell.split("\n"))
        for cells in zip(part.titles, *part.rows, strict=True)
    ]
    return sum(lines) + GAP * (len(lines) - 1)


def whole(cell: str, name: bool) -> str:
    return cell.replace("\n", "" if name else " ")


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert list(fitted(_COLUMNS, _ROWS, 200, {"service"})) == [Part(_COLUMNS, _COLUMNS, _ROWS)]


def test_texts_are_wrapped_and_names_broken_at_their_hyphens_before_columns_go_below() -> None:
    (part,) = fitted(_COLUMNS, _ROWS, 80, {"service"})
    assert part.rows[0][0].split("\n")[0].endswith(("-", ":"))
    assert widest(part) <= 80


def test_columns_that_do_not_fit_form_tables_of_about_the_same_width() -> None:
    rows = [("a" * 20, *("b" * 20 for _ in range(5)))]
    parts = list(fitted(("key", "c1", "c2", "c3", "c4", "c5"), rows, 108, ()))
    assert [part.columns for part in parts] == [("key", "c1", "c2", "c3"), ("key", "c4", "c5")]
    parts = list(fitted(("key", "at", "c2", "c3", "c4", "c5"), rows, 108, (), keys=2))
    assert [part.columns for part in parts] == [("key", "at", "c2", "c3"), ("key", "at", "c4", "c5")]


@pytest.mark.parametrize("keys", [1, 2])
@given(
    rows=st.lists(st.tuples(_NAMES, _TEXTS, _TEXTS, _TEXTS, _TEXTS), min_size=1, max_size=4),
    width=st.integers(70, 200),
)
def test_every_word_of_every_cell_is_shown_within_the_width(
    keys: int, rows: Sequence[tuple[str, ...]], width: int
) -> None:
    columns = ("service", "first", "second", "third", "fourth")
    parts = list(fitted(columns, rows, width, {"service"}, keys))
    shown = [column for part in parts for column in part.columns[keys:]]
    assert shown == list(columns[keys:])
    for part in parts:
        assert widest(part) <= width
        assert part.columns[:keys] == columns[:keys]
        for place, column in enumerate(part.columns):
            cells = [whole(row[place], column == "service") for row in part.rows]
            assert cells == [row[columns.index(column)] for row in rows]
