from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.checks import MOST_NAME_CHARACTERS, MOST_NAMES, OTHER_CHECKS, Checks


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(0, 50))
def test_every_check_is_counted_whichever_process_made_it(made: list[tuple[str, bool]], cut: int) -> None:
    whole, other = Checks(), Checks()
    for name, ok in made[:cut]:
        whole.count(name, ok)
    for name, ok in made[cut:]:
        other.count(name, ok)
    whole.take(other)
    assert whole.to_dict() == {
        name: {"passed": made.count((name, True)), "failed": made.count((name, False))}
        for name in {name for name, _ in made}
    }
    assert other.to_dict() == {}


def test_names_are_bounded_and_nothing_goes_uncounted() -> None:
    checks = Checks()
    for number in range(3 * MOST_NAMES):
        checks.count(f"check {number}", number % 2 == 0)
        checks.count("check 0", True)
    counts = checks.to_dict()
    assert len(counts) == MOST_NAMES + 1
    assert counts["check 0"]["passed"] == 3 * MOST_NAMES + 1
    assert counts[OTHER_CHECKS] == {"passed": MOST_NAMES, "failed": MOST_NAMES}
    assert sum(sum(each.values()) for each in counts.values()) == 6 * MOST_NAMES


def test_a_long_name_is_cut() -> None:
    checks = Checks()
    checks.count("x" * 10_000, False)
    checks.count("x" * 10_000, False)
    ((name, counts),) = checks.to_dict().items()
    assert (len(name), counts["failed"]) == (MOST_NAME_CHARACTERS, 2)
