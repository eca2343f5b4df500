"""Test that the first failed connection of each kind is kept, and that the number of kinds is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from analysis.text import kind_of
from loadgen.measure.broken import MOST_KINDS, BrokenConnections, LastMessage


def test_the_first_connection_of_each_kind_is_kept_and_others_cost_no_display() -> None:
    broken, made = BrokenConnections(), []

    def messages(of: int) -> list[LastMessage]:
        made.append(of)
        return [LastMessage(False, of, 7, "{}")]

    for number, error in enumerate(
        (
            "closed with code 1006",
            "closed with code 1008: no",
            "closed with code 1006",
            "closed with code 1011: no",
        )
    ):
        broken.add(error, number, 2, lambda number=number: messages(number))  # type: ignore[misc]
    assert made == [0, 1]
    assert broken.to_list() == [
        {
            "error": error,
            "connection": number,
            "life": 2,
            "messages": [{"sent": False, "before_ns": number, "size_bytes": 7, "text": "{}"}],
        }
        for number, error in enumerate(("closed with code 1006", "closed with code 1008: no"))
    ]


@given(st.lists(st.text("ab1 ", max_size=6), max_size=80))
def test_any_errors_leave_the_first_of_each_kind(errors: list[str]) -> None:
    broken = BrokenConnections()
    for number, error in enumerate(errors):
        broken.add(error, number, 0, list)
    firsts: dict[str, int] = {}
    for number, error in enumerate(errors):
        firsts.setdefault(kind_of(error), number)
    assert [each["connection"] for each in broken.to_list()] == list(firsts.values())[:MOST_KINDS]
