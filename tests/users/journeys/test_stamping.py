"""Test the stamp in journeys' events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.stamp import decode_event
from loadgen.payloads.stamping import plain, stamped
from loadgen.users.journeys.stamping import Event, unstamped

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.dictionaries(st.text().filter(lambda key: key not in ("_lg", "pad")), JSON, max_size=5)


@given(MEMBERS, st.booleans())
def test_an_event_comes_back_as_it_was_published(members: dict[str, Any], as_text: bool) -> None:
    given_ = json.dumps(members, indent=1) if as_text else members
    (text,), _ = stamped(7, 3, [11], 1_000, 2_000, [plain(0, unstamped(given_))])
    assert isinstance(text, str)
    assert text.startswith('{"_lg":[7,3,11,1000,2000]')
    assert decode_event(text).stamp == (7, 3, 11, 1_000, 2_000)
    event = Event("/default/a", text)
    assert event == members
    assert (event.channel, event.text) == ("/default/a", text)


@pytest.mark.parametrize(
    "wrong", ["[1]", "no json", "3", "", '{"a":', 3, None, [1], b"{}", {"a": float("nan")}, {"a": object()}]
)
def test_what_is_no_json_object_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="an event"):
        unstamped(wrong)


@pytest.mark.parametrize("taken", [{"_lg": 1}, '{"a": 1, "_lg": [1]}'])
def test_the_harnesss_own_member_is_refused(taken: object) -> None:
    with pytest.raises(ValueError, match="which the harness writes itself"):
        unstamped(taken)
