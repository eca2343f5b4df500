"""Test that the journal finds the stamps of events wherever the run has placed them."""

import json
from pathlib import Path

import pytest

from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Stamping
from loadgen.server.api_keys import ConfigError
from loadgen.server.config import ServerConfig
from loadgen.server.journal import Journal
from loadgen.server.journal_reader import Journal as Written

PLACES = [Place(), Place("member", "trace"), Place("pointer", "/meta/a~1b"), Place("pointer", "/list/1")]


def config(stamp: str | None) -> ServerConfig:
    return ServerConfig.from_options(
        api_key_env=None,
        api_file=None,
        quotas=None,
        faults=None,
        environment={},
        namespaces=None,
        stamp=stamp,
    )


@pytest.mark.parametrize("integrity", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_the_numbers_of_each_stamp_are_written_down(tmp_path: Path, place: Place, integrity: bool) -> None:
    stamping = Stamping(Stamps(place, integrity))
    text = json.dumps({"list": [1, 2], "text": "é"})
    event = str(stamping.event(7, 3, 12, 1, 2, stamping.example(text.encode())))
    journal = Journal(tmp_path / "j", {}, config(None if place.is_default else place.name).place)
    others = ["", "{}", "[]", '{"trace":[1,2]}', '{"_lg":[1,2,3]}', '{"trace":{"a":1},"list":[1]}', "7"]
    for number, each in enumerate([event, *others]):
        journal.event(number, "/default/a", 5, True, each)
    journal.close()
    rows = Written.load(tmp_path / "j").events.to_pylist()
    assert [(row["token"], row["publisher"], row["sequence"]) for row in rows] == [
        (7, 3, 12),
        *[(None, None, None)] * len(others),
    ]


def test_a_place_is_a_pointer_if_it_begins_with_a_slash() -> None:
    assert config(None).place == Place()
    assert config("trace").place == Place("member", "trace")
    assert config("/a/b").place == Place("pointer", "/a/b")
    for wrong in ("", "/a~2", "x" * 1001):
        with pytest.raises(ConfigError, match="is no place in an event"):
            config(wrong)
