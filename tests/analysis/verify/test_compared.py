"""Test comparing two outputs key by key.

Each difference has a path. A key that the version of an output did not have is no difference.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.record import revisions
from analysis.record.revisions import SUMMARY, Maker
from analysis.verify import compared
from analysis.verify.compared import DamagedError, Verification, agree, conclusion, flat, leaves, shown
from tests.analysis.golden import Written

KEYS = st.one_of(st.text(max_size=4), st.sampled_from(["a", "a.b", "b", "0", '"', "[]", "a[0]", "ü"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
NOW = Written.read("staircase").summary
WAYS = [steps for steps in leaves(NOW) if steps]


@pytest.fixture
def three_revisions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace the history of the output format: 2 writes `new` instead of `old`, and 3 computes `list` differently."""
    entries = [
        {"added": ["f:base", "f:base.x"], "removed": [], "changed": []},
        {"added": ["f:old", "f:kept", "f:list", "f:list[].n"], "removed": [], "changed": []},
        {"added": ["f:new", "f:new.x", "f:new.y"], "removed": ["f:old"], "changed": []},
        {"added": [], "removed": [], "changed": ["f:list"]},
    ]
    monkeypatch.setattr(revisions, "_entries", lambda: entries)
    revisions.keys.cache_clear()
    yield
    revisions.keys.cache_clear()


HERE: dict[str, Any] = {"base": {"x": 1}, "kept": 2, "new": {"x": 3, "y": [4, 5]}, "list": [{"n": 6}]}


def of(here: Any, there: Any, revision: int) -> Verification:
    found = Verification()
    compared.figures("f", here, there, Maker("1", revision), found)
    return found


def changed(content: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    other = copy.deepcopy(content)
    at = other
    for step in steps[:-1]:
        at = at[step]
    at[steps[-1]] = value
    return other


@settings(max_examples=300)
@given(VALUES)
def test_each_value_has_a_path_of_its_own(value: Any) -> None:
    assert len(flat(value)) == len(list(leaves(value)))
    assert of(value, json.loads(json.dumps(value)), revisions.current()).disagreements == []


@settings(max_examples=300)
@given(st.sampled_from(WAYS), st.data())
def test_any_one_value_that_was_changed_is_named_and_nothing_else(
    steps: tuple[str | int, ...], data: st.DataObject
) -> None:
    at: Any = NOW
    for step in steps:
        at = at[step]
    other = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5))
    found = Verification()
    there = changed(NOW, steps, other)
    compared.figures(SUMMARY, NOW, there, Maker(None, revisions.current()), found)
    if agree(at, other):
        assert found.disagreements == []
    else:
        (said,) = found.disagreements
        assert said.startswith(f"summary.json: {shown(steps)} is ")
        assert said.endswith(" by the tables")
    assert found.absent == []
    assert found.notes == []


@given(st.sampled_from(WAYS))
def test_a_key_that_was_taken_out_or_put_in_is_named(steps: tuple[str | int, ...]) -> None:
    there = copy.deepcopy(NOW)
    at: Any = there
    for step in steps[:-1]:
        at = at[step]
    del at[steps[-1]]
    this = Maker(None, revisions.current())
    for one, other in ((NOW, there), (there, NOW)):
        found = Verification()
        compared.figures(SUMMARY, one, other, this, found)
        (said,) = found.disagreements
        if isinstance(steps[-1], str):
            assert shown(steps) in said
        else:
            assert f"{shown(steps[:-1])} has " in said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, 0, False),
        ("1", 1, False),
        (10**400, 10**400, True),
        (10**400, 1.5, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), 1e308, False),
        ({}, [], False),
        ([], None, False),
    ],
)
def test_values_agree_or_do_not(one: Any, other: Any, same: bool) -> None:
    assert agree(one, other) is same
    assert agree(other, one) is same
    assert agree(one, other, 1e-9) is same
    found = of({"base": {"x": one}}, {"base": {"x": other}}, revisions.current())
    assert found.agrees is same


def test_a_tolerance_is_for_floats_alone() -> None:
    assert agree(1.0, 1.0 + 1e-12, 1e-9)
    assert not agree(1.0, 1.0 + 1e-12)
    assert not agree(1_795_506_795_636_255_082, 1_795_506_795_636_255_083, 1e-9)


@pytest.mark.usefixtures("three_revisions")
def test_what_an_older_version_did_not_write_is_not_there_and_not_wrong() -> None:
    found = of(HERE, {"base": {"x": 1}, "kept": 2, "old": 9, "list": [{"n": 6}]}, 1)
    assert found.disagreements == []
    assert found.absent == ["f: new.x", "f: new.y.0", "f: new.y.1"]
    assert found.notes == ["f: not compared, as no longer made: old"]
    found.remedy = "`loadgen report x`"
    assert conclusion(found) == (
        "all that is there agrees; 3 figures are not there: new.x, new.y.*; `loadgen report x` makes them"
    )


@pytest.mark.usefixtures("three_revisions")
@pytest.mark.parametrize(
    ("there", "revision", "said"),
    [
        ({"kept": 2, "list": [{"n": 6}]}, 1, "f: base is missing, and an object with 1 entry by the tables"),
        ({"base": {}, "kept": 2, "list": []}, 1, "f: base.x is missing, and 1 by the tables"),
        ({"base": {"x": 1}, "list": []}, 1, "f: kept is missing, and 2 by the tables"),
        ({"base": {"x": 1}, "kept": 2, "list": [], "new": {"x": 3, "y": []}}, 1, "f: new is there, and"),
        ({"base": {"x": 1}, "kept": 2, "list": [], "odd": 1}, 1, "f: odd is 1, and not there by the tables"),
        ({**HERE, "old": 1}, 3, "f: old is 1, and not there by the tables"),
        ({**HERE, "kept": 3}, 3, "f: kept is 3, and 2 by the tables"),
        ({**HERE, "list": []}, 3, "f: list has 0 entries, and 1 by the tables"),
        ({**HERE, "new": {"x": 3, "y": [4]}}, 2, "f: new.y has 1 entry, and 2 by the tables"),
        ({**HERE, "new": {"x": 3}}, 3, "f: new.y is missing, and a list of 2 by the tables"),
        ({"base": {"x": 2}}, 0, "f: base.x is 2, and 1 by the tables"),
    ],
)
def test_what_a_version_did_write_is_held_against_it(there: dict[str, Any], revision: int, said: str) -> None:
    found = of(HERE, there, revision)
    assert any(line.startswith(said) for line in found.disagreements), found.disagreements


@pytest.mark.usefixtures("three_revisions")
def test_what_is_computed_in_another_way_since_is_not_compared() -> None:
    for there in ([], [{"n": 7}]):
        found = of(HERE, {**HERE, "list": there}, 2)
        assert found.disagreements == []
        assert "computed in another way since (loadgen 1, revision 2): list" in found.notes[0]


@pytest.mark.usefixtures("three_revisions")
def test_of_a_newer_version_what_this_one_does_not_know_is_not_compared() -> None:
    found = of(HERE, {**HERE, "later": {"a": 1}, "kept": 3}, 4)
    assert found.disagreements == ["f: kept is 3, and 2 by the tables"]
    assert found.notes == ["f: not compared, as made by a newer version only: later.a"]
    del (there := dict(HERE))["kept"]
    assert of(HERE, there, 4).disagreements == []


def test_names_of_errors_are_data_whatever_the_version() -> None:
    one, other = ({"publish": {"errors": errors}} for errors in ({"a.b": 1}, {"a": {"b": 1}}))
    for revision in (0, revisions.current()):
        found = Verification()
        compared.figures(SUMMARY, one, other, Maker(None, revision), found)
        assert found.disagreements == [
            'summary.json: publish.errors["a.b"] is missing, and 1 by the tables',
            "summary.json: publish.errors.a is an object with 1 entry, and not there by the tables",
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON from line 1 on"),
        ('{"a": 1,\n"b"', "not JSON from line 2 on"),
        ("[1]", "holds no JSON object"),
        ("5", "holds no JSON object"),
        ('{"a": 1, "a": 2}', 'the key "a" stands in it twice'),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "cannot be read: Exceeds the limit"),
    ],
)
def test_a_damaged_file_is_told_in_a_sentence(content: str, said: str) -> None:
    with pytest.raises(DamagedError) as told:
        compared.parsed(content)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_words_are_compared_one_by_one_and_those_of_another_version_are_not() -> None:
    this, older = Maker("1", revisions.current()), Maker(None, 0)
    found = Verification()
    compared.words("x", "lost 5 of 10", "lost  5\nof 10", this, found)
    assert (found.compared, found.disagreements) == ({"x": 2}, [])
    compared.words("x", "lost 5 of 10", "lost 4 of 10", this, found)
    compared.words("x", "✗ failed", "✓ failed", this, found)
    compared.words("x", "a b", "a b c\x1b[31m", this, found)
    assert found.disagreements == [
        "x: it is 4 where it is 5 by the tables, after “lost”",
        "x: it is ✓ where it is ✗ by the tables",
        "x: it is c\N{REPLACEMENT CHARACTER}[31m where it is at its end by the tables, after “a b”",
    ]
    found = Verification()
    compared.words("x", "lost 5", "lost: 4", older, found)
    assert found.agrees
    assert found.notes == ["x: not compared, as a version from before revisions wrote it in other words"]
    compared.words("x", "lost 5", "lost 5", older, found)
    assert found.compared == {"x": 1}


def test_of_a_page_what_a_reader_sees_is_compared() -> None:
    said = "<style>1</style><p>2</p></svg><svg><text>3</text></svg><script>4</script>5&amp;6"
    assert compared.page(said).split() == ["2", "5&6"]
