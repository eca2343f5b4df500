"""Test how the command line of `loadgen choose` names services."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.choose.services import LOCAL, ChoiceError, Wanted, wanted

_labels = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
_options = st.lists(
    st.text(min_size=1, max_size=20).filter(lambda text: not text.startswith("-")), max_size=3
)


def test_a_name_stands_for_a_service_on_this_machine() -> None:
    assert wanted(["mqtt?qos=0"]) == [Wanted("mqtt", "mqtt", None, "qos=0", ())]


def test_a_url_is_named_after_its_protocol() -> None:
    (found,) = wanted(["mqtts://broker.example --auth password:U:P"])
    assert found == Wanted("mqtt", None, "mqtts://broker.example", "", ("--auth", "password:U:P"))


def test_services_of_one_kind_are_numbered() -> None:
    found = wanted(["mqtt?qos=0", "mqtt?qos=1", "mqtt://h", "appsync-events"])
    assert [each.label for each in found] == ["mqtt", "mqtt-2", "mqtt-3", "appsync-events"]


def test_a_label_is_no_part_of_a_url_with_a_query() -> None:
    (found,) = wanted(["mqtt://h?qos=1"])
    assert found.url == "mqtt://h?qos=1"
    (found,) = wanted(["ours=mqtt://h?qos=1"])
    assert (found.label, found.url) == ("ours", "mqtt://h?qos=1")


@given(_labels, st.sampled_from(LOCAL), _options)
def test_label_name_and_options_are_read_as_they_were_written(
    label: str, name: str, options: list[str]
) -> None:
    (found,) = wanted([shlex.join([f"{label}={name}", *options])])
    assert found == Wanted(label, name, None, "", tuple(options))


@given(st.lists(st.sampled_from((*LOCAL, "mqtt://h", "https://h/event")), min_size=1, max_size=8))
def test_each_service_has_a_label_of_its_own(said: list[str]) -> None:
    found = wanted(said)
    assert len({each.label for each in found}) == len(said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["kafka"], "names no service"),
        (["'mqtt"], "is not"),
        ([""], "is not"),
        (["mqtt --target mqtt://h"], "--target, which the comparison sets itself"),
        (["mqtt --output=x"], "--output, which the comparison sets itself"),
        (["a=mqtt", "a=appsync-events"], "two services have the label a"),
        (["nothing-of-the-kind+ws://h"], "nothing-of-the-kind"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(said: list[str], why: str) -> None:
    with pytest.raises(ChoiceError, match=why) as error:
        wanted(said)
    assert "\n" not in str(error.value)


def test_a_key_in_an_argument_is_not_repeated() -> None:
    with pytest.raises(ChoiceError) as error:
        wanted(["da2-abcdefghijklmnopqrstuvwxyz"])
    assert "abcdefghij" not in str(error.value)
