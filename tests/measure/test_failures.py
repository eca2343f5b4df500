import json

from loadgen.measure.failures import (
    HARNESS,
    MOST_MESSAGE_CHARACTERS,
    MOST_PLACES,
    USER_CODE,
    Failure,
    Failures,
    place_of,
)


def raised(text: str = "no", kind: type[Exception] = ValueError) -> Exception:
    try:
        raise kind(text)
    except Exception as error:
        return error


def test_failures_of_one_place_are_one_entry_with_the_first_message() -> None:
    shown: list[Failure] = []
    failures = Failures(shown.append)
    for number in range(1_000):
        failures.add(USER_CODE, "payload()", raised(f"row {number}"))
    (entry,) = failures.to_list()
    assert (entry["kind"], entry["message"], entry["count"]) == (USER_CODE, "ValueError: row 0", 1_000)
    assert entry["where"].startswith("payload() at ")
    assert entry["where"].rpartition(":")[2].isdigit()
    assert len(shown) == 1
    assert len(failures) == 1_000


def test_a_failure_in_a_library_names_the_line_that_called_it() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        line = error.__traceback__.tb_lineno if error.__traceback__ else 0
        place = place_of(error)
    assert place.startswith(f"tests/measure/test_failures.py:{line} (in json/"), place


def test_a_place_may_be_given_and_failures_move_without_being_shown_again() -> None:
    shown: list[Failure] = []
    early, late = Failures(shown.append), Failures(shown.append)
    early.add(USER_CODE, "payload()", raised(), "users.py:3")
    late.add(USER_CODE, "payload()", raised(), "users.py:3")
    late.take(early)
    ((where, count),) = [(entry["where"], entry["count"]) for entry in late.to_list()]
    assert (where, count, len(early), len(shown)) == ("payload() at users.py:3", 2, 0, 2)


def test_kinds_and_hooks_are_kept_apart() -> None:
    failures = Failures()
    error = raised()
    failures.add(USER_CODE, "payload()", error)
    failures.add(USER_CODE, "on_delivery()", error)
    failures.add(HARNESS, "on_delivery()", error)
    assert [(e["kind"], e["where"].partition(" ")[0]) for e in failures.to_list()] == [
        (USER_CODE, "payload()"),
        (USER_CODE, "on_delivery()"),
        (HARNESS, "on_delivery()"),
    ]


def test_places_are_bounded_and_nothing_goes_uncounted() -> None:
    failures = Failures()
    for number in range(10 * MOST_PLACES):
        failures.add(USER_CODE, f"hook{number}()", raised())
    assert len(failures.to_list()) == MOST_PLACES + 1
    assert len(failures) == 10 * MOST_PLACES


def test_a_message_is_one_short_line_whatever_the_exception_says() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    failures = Failures()
    failures.add(USER_CODE, "a()", raised("two\nlines\tand more"))
    failures.add(USER_CODE, "b()", raised("x" * 10_000))
    failures.add(USER_CODE, "c()", raised(kind=Silent))
    first, second, third = (entry["message"] for entry in failures.to_list())
    assert first == "ValueError: two lines and more"
    assert len(second) == MOST_MESSAGE_CHARACTERS
    assert third == "Silent: (its text cannot be shown)"
