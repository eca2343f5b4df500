"""Test files of messages: split once, sent unchanged, chosen in turn, at random or by weight."""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.data.errors import DataError
from loadgen.data.readers import WHOLE_LINE, rows
from loadgen.data.table import Table
from loadgen.data.tables import Tables
from loadgen.payloads.lines import COLUMNS, prepared, shares_in, table_name
from loadgen.payloads.makers import Makers
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Lines, Stamps
from loadgen.payloads.stamping import Event, Stamping
from tests.payloads.test_place import BODIES, STAMP

PLACES = [Place(), Place("member", "trace"), Place("pointer", "/meta/trace"), Place("header", "Lg")]


def table_of(texts: list[str], stamps: Stamps = Stamps(), **more: Any) -> Table:  # noqa: B008  frozen
    found = ((number, (text,)) for number, text in enumerate(texts, 1))
    return Table.write(prepared(found, stamps, name="m.jsonl", **more), COLUMNS)


def events(table: Table, pick: str, count: int, stamps: Stamps = Stamps(), **who: int) -> list[Event]:  # noqa: B008
    stamping = Stamping(stamps)
    lines = Lines(table_name("g"), "m.jsonl", pick, len(table))
    makers = Makers(lines, 200, stamping, Tables({table_name("g"): table}), "g")
    about = {"number": 4, "index": 0, "clients": 1, **who}
    maker = makers.maker(seed="1", own={}, **about)
    return [stamping.event(*STAMP[:2], k, *STAMP[3:], maker.next(k, {})) for k in range(count)]


@given(st.lists(BODIES, min_size=1, max_size=3), st.sampled_from(PLACES), st.booleans())
def test_each_message_is_sent_as_it_is(bodies: list[dict[str, Any]], place: Place, integrity: bool) -> None:
    for body in bodies:
        body.pop("meta", None)
    stamps = Stamps(place, integrity)
    with closing(table_of([json.dumps(body) for body in bodies], stamps)) as table:
        for number, (event, body) in enumerate(
            zip(events(table, "in-turn", len(bodies), stamps), bodies, strict=True)
        ):
            stamping = Stamping(stamps)
            if isinstance(event, str):
                found, read = json.loads(event), stamping.read(event)
            else:
                found, read = json.loads(event.body), stamping.read_beside(event.stamp, event.body)
            assert read == ((*STAMP[:2], number, *STAMP[3:]), False)
            assert found.items() >= {key: each for key, each in body.items() if key != place.name}.items()
            assert len(found) - len(body) in (0, 1)


def test_a_real_file(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes('\ufeff{"text": "1"}\r\n\r\n{"text":\t2.50}\n{"text": "é"}'.encode())
    read = rows(path, "jsonl", [WHOLE_LINE], name="m.jsonl")
    with closing(Table.write(prepared(read, Stamps(), name="m.jsonl"), COLUMNS)) as table:
        stamp = ",".join(map(str, (*STAMP[:2], "{}", *STAMP[3:])))
        assert events(table, "in-turn", 4) == [
            f'{{"_lg":[{stamp.format(0)}],"text":"1"}}',
            f'{{"_lg":[{stamp.format(1)}],"text":2.50}}',
            f'{{"_lg":[{stamp.format(2)}],"text":"é"}}',
            f'{{"_lg":[{stamp.format(3)}],"text":"1"}}',
        ]
        assert table.line(2) == 4


def test_the_clients_of_a_group_share_the_messages() -> None:
    with closing(table_of([f'{{"n":{n}}}' for n in range(10)])) as table:

        def numbers(client: int) -> list[int]:
            return [
                json.loads(str(event))["n"] for event in events(table, "in-turn", 4, index=client, clients=3)
            ]

        assert [numbers(client) for client in range(3)] == [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]


def test_weights() -> None:
    texts = [f'{{"n":{n},"w":{weight},"text":"é"}}' for n, weight in enumerate([0, 1, 2.5, 0, 6.5, 0])]
    with closing(table_of(texts, weight="w")) as table:
        found = [json.loads(str(event)) for event in events(table, "by-weight", 4000)]
        assert all(each.keys() == {"_lg", "n", "text"} for each in found)
        counts = Counter(each["n"] for each in found)
        assert counts.keys() == {1, 2, 4}
        # Allow six standard deviations of a binomial distribution.
        for number, share in ((1, 0.1), (2, 0.25), (4, 0.65)):
            assert abs(counts[number] - 4000 * share) < 6 * (4000 * share * (1 - share)) ** 0.5
        assert len(shares_in(table, Stamps(), by_weight=True)) == 1


def test_random_picks_reach_every_message() -> None:
    with closing(table_of([f'{{"n":{n}}}' for n in range(5)])) as table:
        one = events(table, "random", 300)
        assert {json.loads(str(event))["n"] for event in one} == set(range(5))
        assert one == events(table, "random", 300)
        assert one != events(table, "random", 300, number=5)


NO_ROOM = "the message has no room for the stamp: its 'meta' is no object"
NO_WEIGHT = "the message has a weight that is no number from 0 on: its member 'w'"
LARGE = "the message is too large: with its stamp up to 408 bytes, and the service takes 300; shorten it"


@pytest.mark.parametrize(
    ("texts", "more", "why"),
    [
        (
            ['{"meta": 1}', '{"meta": {}}', '{"meta": "x"}'],
            {},
            [f"m.jsonl:1: {NO_ROOM}", f"m.jsonl:3: {NO_ROOM}"],
        ),
        (['{"a":1}', '{"a": "' + "x" * 300 + '"}'], {"limit_bytes": 300}, [f"m.jsonl:2: {LARGE}"]),
        (
            ['{"w": 1}', '{"v": 1}'],
            {"weight": "w"},
            ["m.jsonl:2: the message has no member 'w', which 'weight' names"],
        ),
        (
            ['{"w": -1}', '{"w": "1"}', '{"w": true}'],
            {"weight": "w"},
            [f"m.jsonl:{line}: {NO_WEIGHT}" for line in (1, 2, 3)],
        ),
        (
            ['{"w": 0}'],
            {"weight": "w"},
            ["m.jsonl: all weights are 0; give at least one message a weight above 0"],
        ),
        (
            ['{"meta": 1}'] * 12,
            {},
            [*(f"m.jsonl:{line}: {NO_ROOM}" for line in range(1, 11)), "m.jsonl: and perhaps more"],
        ),
    ],
)
def test_mistakes_name_their_lines(texts: list[str], more: dict[str, Any], why: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        table_of(texts, Stamps(Place("pointer", "/meta/trace")), **more)
    assert list(caught.value.problems) == why
