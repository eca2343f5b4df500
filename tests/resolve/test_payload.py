"""Test payloads and stamps in a scenario: the resulting events, and the exact message about each mistake."""

# ruff: noqa: E501 - each message stays on one line, so that a search finds it

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.config.problems import ScenarioError
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Lines, Sizes, Stamps, Template
from loadgen.resolve import Clients, ResolvedRun
from loadgen.resolve.loading import from_resolved, load_with_data
from loadgen.resolve.resolver import resolve
from loadgen.resolve.rows import ClientRows
from loadgen.resolve.run import decoded, encoded
from loadgen.scenario.scenario import Scenario

SCENARIO = """\
version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
clients:
  users: {count: 2, subscribe: "/default/u/{people.id}"}
  backend:
    count: 2
    publish:
      channel: "/default/u/{anyone.id}"
      rate: 10/s
      payload:
        json:
          to: "{anyone.id}"
          me: "{people.id}"
          n: "{seq}"
          none: null
          empty: ""
          nothing: []
  others:
    count: 1
    publish: {channel: /default/u/x, rate: 10/s, payload: {file: m.jsonl}}
"""
MQTT = "mqtt://127.0.0.1:1883"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,token,hex\na,s,ff\nb,t,zz\nc,u,00\n")
    Path("m.jsonl").write_text('{"a": 1}\n\n{"a": 2.50, "meta": {"b": "é"}}\n{"meta": "text"}\n')


def loaded(text: str, target: str | None = None) -> tuple[ResolvedRun, Clients, Scenario]:
    Path("x.yaml").write_text(text)
    scenario, tables = load_with_data("x.yaml", target=target)
    run = resolve(scenario, target, tables)
    return run, Clients(run, tables, ClientRows(run, tables)), scenario


def problems(text: str, target: str | None = None) -> list[str]:
    Path("x.yaml").write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_with_data("x.yaml", target=target)
    return list(caught.value.problems)


def events(clients: Clients, number: int, count: int = 20) -> list[tuple[str, Any]]:
    """Return the channel and content of a client's first events."""
    publish = clients.client(number).publish
    assert publish is not None
    draw, maker = publish.channels(), publish.maker()
    assert maker is not None
    found = []
    for sequence in range(count):
        channel = draw.next()
        body = maker.next(sequence, getattr(draw, "rows", {}))
        event = clients.stamping.event(7, number, sequence, 1, 2, body)
        assert isinstance(event, str)
        assert clients.stamping.read(event) == ((7, number, sequence, 1, 2), False)
        found.append((channel, json.loads(event)))
    return found


def test_a_request_takes_its_channel_and_its_payload_from_one_row() -> None:
    run, clients, _ = loaded(SCENARIO)
    found = events(clients, 2)
    assert {content["to"] for _, content in found} == {"a", "b", "c"}
    for sequence, (channel, content) in enumerate(found):
        assert channel == f"/default/u/{content['to']}"
        # With `assign: by-client`, each publisher has a row of its own; this one has the first.
        assert content["me"] == "a"
        assert content["n"] == sequence
        assert (content["none"], content["empty"], content["nothing"]) == (None, "", [])
    assert {content["me"] for _, content in events(clients, 3)} == {"b"}
    assert found == events(Clients(decoded(encoded(run)), clients._data, clients._rows), 2)


def test_the_lines_of_a_file_are_sent_as_they_are() -> None:
    _, clients, _ = loaded(SCENARIO)
    contents = [{k: v for k, v in content.items() if k != "_lg"} for _, content in events(clients, 4, 4)]
    assert contents == [{"a": 1}, {"a": 2.5, "meta": {"b": "é"}}, {"meta": "text"}, {"a": 1}]


def test_a_resolved_scenario_means_the_same_and_keeps_null_and_empty_values() -> None:
    run, _, scenario = loaded(SCENARIO)
    document = json.loads(json.dumps(scenario.resolved()))
    written = document["clients"]["backend"]["publish"]["payload"]["json"]
    assert written == {
        "to": "{anyone.id}",
        "me": "{people.id}",
        "n": "{seq}",
        "none": None,
        "empty": "",
        "nothing": [],
    }
    again = from_resolved(document)
    assert again.clients == scenario.clients
    assert run.document == document


def test_what_a_run_is_told_of_payloads_and_stamps() -> None:
    spread = SCENARIO.replace("{file: m.jsonl}", "{size: {p50: 300B, p99: 2KB, max: 20KB}}")
    run, _, _ = loaded(spread.replace("clients:", "stamp: {pointer: /x/y}\nintegrity: true\nclients:", 1))
    assert run.stamps == Stamps(Place("pointer", "/x/y"), True)
    assert run.publishing["others"].payload == Sizes(300, 2000, 20_000)
    assert isinstance(run.publishing["backend"].payload, Template)
    assert run.publishing["others"].most_bytes == 20_000
    assert loaded(SCENARIO)[0].publishing["others"].payload == Lines(
        "payload of others", "m.jsonl", "in-turn", 3
    )
    plain = SCENARIO.replace("payload: {file: m.jsonl}", "payload: 300B")
    assert loaded(plain)[0].publishing["others"].payload is None


def test_planned_sizes_are_those_of_the_events() -> None:
    run, clients, _ = loaded(SCENARIO)
    for number, name in ((2, "backend"), (4, "others")):
        sizes = [
            len(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())
            for _, content in events(clients, number, 30)
        ]
        # The stamps in this test are shorter than in a run, all by the same number of bytes.
        planned = run.publishing[name]
        assert abs(planned.mean_bytes - sum(sizes) / len(sizes)) < 70
        assert planned.most_bytes >= max(sizes)
        assert planned.units(5120) == 1


def test_payloads_of_bytes_on_a_broker() -> None:
    text = SCENARIO.replace("clients:", "stamp: {user_property: lg}\nclients:", 1)
    text = text.replace("{file: m.jsonl}", '{hex: "00 {people.hex}"}').replace("count: 1", "count: 1")
    run, clients, _ = loaded(text, MQTT)
    publish = clients.client(4).publish
    assert publish is not None
    maker = publish.maker()
    assert maker is not None
    event = clients.stamping.event(7, 4, 0, 1, 2, maker.next(0, {}))
    assert not isinstance(event, str)
    assert (event.body, event.stamp) == (b"\x00\xff", "[7,4,0,1,2]")
    assert run.publishing["others"].payload_bytes == 2


#: A text of the scenario, the faulty text that replaces it, and the error message that results.
MISTAKES = [
    ('"{anyone.id}"\n          me', '"{anyone.idd}"\n          me', "people.csv:1: there is no column 'idd'; did you mean 'id'?"),
    ('n: "{seq}"', 'n: "{sec}"', "x.yaml:16: clients.backend.publish.payload.json.n has {sec}, which is no column and none of {seq}, {now}, {uuid}; did you mean 'seq'?"),
    ('n: "{seq}"', 'n: "{persons.id}"', "x.yaml:16: clients.backend.publish.payload.json.n has {persons.id}, and 'persons' is no data; known are people, anyone"),
    ('n: "{seq}"', 'n: "{people}"', "x.yaml:16: clients.backend.publish.payload.json.n has {people}, which is data: name one of its columns too, as in {people.id}"),
    ('n: "{seq}"', 'n: "{people.token}"', "x.yaml:16: clients.backend.publish.payload.json.n has {people.token}, a secret column, which would get into the record; only logins may use it"),
    ('n: "{seq}"', 'n: "{seq"', "x.yaml:16: clients.backend.publish.payload.json.n has a '{' without its partner; a brace itself is written '{{' or '}}'"),
    ('n: "{seq}"', "n: {random: []}", "x.yaml:16: clients.backend.publish.payload.json.n.random is an empty list; give it the values to choose from"),
    ('n: "{seq}"', "n: {deep: {random: [1, '{no}']}}", "x.yaml:16: clients.backend.publish.payload.json.n.deep.random.1 has {no}, which is no column and none of {seq}, {now}, {uuid}; did you mean 'now'?"),
    ("{file: m.jsonl}", "{file: m.jsonl, size: {p50: 1B, p99: 1B, max: 1B}}", "x.yaml:22: clients.others.publish.payload has both file and size; keep one of them"),
    ("{file: m.jsonl}", "{}", "x.yaml:22: clients.others.publish.payload says nothing of the content; give it one of json, file, size, text, hex, base64, or a size such as 200B"),
    ("{file: m.jsonl}", "{file: m.jsonl, pick: by-weight}", "x.yaml:22: clients.others.publish.payload has 'pick: by-weight' without weight; name the member, as 'weight: NAME'"),
    ("{file: m.jsonl}", "{file: m.jsonl, pick: by-weight, weight: w}", "m.jsonl:1: the message has no member 'w', which 'weight' names"),
    ("{file: m.jsonl}", "{file: m.jsonl, pick: sometimes}", "x.yaml:22: clients.others.publish.payload.pick must be 'in-turn', 'random' or 'by-weight', not 'sometimes'"),
    ("{file: m.jsonl}", "{file: none.jsonl}", "none.jsonl: the file cannot be read: No such file or directory"),
    ("{file: m.jsonl}", "{file: ../m.jsonl}", "x.yaml:22: clients.others.publish.payload.file names '../m.jsonl', which is outside the scenario's folder; put the file beside the scenario"),
    ("{file: m.jsonl}", "{file: people.csv}", "people.csv:1: the line is no JSON object: JSON is malformed: invalid character (byte 0)"),
    ("{file: m.jsonl}", "{size: {p50: 2KB, p99: 1KB, max: 3KB}}", "x.yaml:22: clients.others.publish.payload.size has a p50 above its p99; give ascending sizes"),
    ("{file: m.jsonl}", "{size: {p50: 2KB, p99: 3KB, max: 300KB}}", "x.yaml:22: clients.others.publish.payload.size.max must be from 1B to 240KiB, not '300KB'"),
    ("{file: m.jsonl}", "{hex: ff}", "x.yaml:22: clients.others.publish.payload.hex leaves no place for the stamp within the event; put it beside the event, as 'stamp: {user_property: lg}' on MQTT or 'stamp: {header: Lg}' on NATS, or use json"),
    ("{file: m.jsonl}", "{json: [1]}", "x.yaml:22: clients.others.publish.payload.json has no room for the stamp: the payload is no object; choose another place with 'stamp'"),
    ("clients:", "stamp: {pointer: meta}\nclients:", "x.yaml:5: stamp.pointer is no JSON pointer: it must begin with '/', as in '/meta'"),
    ("clients:", "stamp: {pointer: /a, member: b}\nclients:", "x.yaml:5: stamp has both member and pointer; keep one of them"),
    ("clients:", "stamp: {pointer: /pad/x}\nclients:", "x.yaml:5: stamp.pointer must not be or lead through 'pad', which holds the padding"),
    ("clients:", "stamp: {member: pad}\nclients:", "x.yaml:5: stamp.member must not be or lead through 'pad', which holds the padding"),
    ("clients:", "stamp: {}\nclients:", "x.yaml:5: stamp names no place; give it one of member, pointer, user_property and header"),
    ("clients:", "stamp: {pointer: /to/trace}\nclients:", "x.yaml:15: clients.backend.publish.payload.json.to has no room for the stamp: its 'to' is no object; choose another place with 'stamp'"),
    ("clients:", "stamp: {user_property: lg}\nclients:", "x.yaml:5: stamp.user_property cannot be used: this target has no user properties, which MQTT 5 has; use member or pointer"),
    ("clients:", "gates: ['delivery.altered == 0']\nclients:", "x.yaml:5: gates.0 asks for altered deliveries, which needs 'integrity: true'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES)
def test_mistakes(old: str, new: str, sentence: str) -> None:
    assert old in SCENARIO
    assert sentence in problems(SCENARIO.replace(old, new, 1))


def test_a_line_without_room_for_the_stamp_is_told() -> None:
    text = SCENARIO.replace("clients:", "stamp: {pointer: /meta/trace}\nclients:", 1)
    assert problems(text) == ["m.jsonl:4: the message has no room for the stamp: its 'meta' is no object"]


def test_events_that_are_too_large_are_told_with_their_lines() -> None:
    Path("m.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 250_000 + '"}\n')
    assert problems(SCENARIO) == [
        "m.jsonl:2: the message is too large: with its stamp up to 250,097 bytes, and the service takes 245,760; shorten it"
    ]
    Path("m.jsonl").write_text('{"a": 1}\n')
    Path("people.csv").write_text(f"id,token,hex\na,s,00\n{'b' * 40},t,{'f' * 250_000}\n")
    [sentence] = problems(SCENARIO.replace('n: "{seq}"', 'n: "{anyone.hex}"'))
    assert sentence.startswith(
        "people.csv:3: clients.backend.publish.payload.json cannot be used with this row: the event would have up to 250,"
    )
    assert sentence.endswith(" bytes, and the service takes 240KiB; shorten it")


def test_rows_that_are_no_bytes_are_told_with_their_lines() -> None:
    text = SCENARIO.replace("clients:", "stamp: {user_property: lg}\nclients:", 1)
    found = problems(text.replace("{file: m.jsonl}", '{hex: "{anyone.hex}"}'), MQTT)
    assert found == [
        "people.csv:3: clients.others.publish.payload.hex cannot be used with this row: gives 2 characters that are no pairs of hexadecimal digits"
    ]


def test_data_by_client_must_have_rows_for_the_publishers_too() -> None:
    found = problems(SCENARIO.replace("  backend:\n    count: 2", "  backend:\n    count: 4"))
    assert found == [
        "x.yaml:8: clients.backend.count is 4, and people.csv has 3 rows to use: give it more rows, or use rows again with 'assign: in-turn' in data.people"
    ]
