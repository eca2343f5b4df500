"""Test how a stand-in's options are read."""

import pytest

from loadgen.stand_ins.options import OptionError, Options


def test_options_have_defaults_and_values() -> None:
    options = Options({"lose-every": "3", "ka-interval": "0.5", "shape": "list"})
    assert options.integer("lose-every", 0, 0, 10) == 3
    assert options.number("ka-interval", 60, 0, 100) == 0.5
    assert options.word("shape", "object", ("object", "list")) == "list"
    assert options.text("file") is None
    assert options.integer("other", 7, 0, 10) == 7
    options.finish()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x", "is out of range: it may be 0 to 10"),
        ("11", "out of range"),
        ("nan", "out of range"),
        ("1.5", "whole"),
    ],
)
def test_a_number_that_cannot_be_is_refused(value: str, said: str) -> None:
    with pytest.raises(OptionError, match=f"--option n={value} .*{said}"):
        Options({"n": value}).integer("n", 0, 0, 10)


def test_an_unknown_word_or_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(OptionError, match="shape=map is unknown: it may be object or list"):
        Options({"shape": "map"}).word("shape", "object", ("object", "list"))
    options = Options({"lose-evry": "3"})
    options.text("lose-every")
    options.text("api")
    with pytest.raises(OptionError, match="lose-evry is unknown: this service has api, lose-every"):
        options.finish()
