"""Test that readiness probes look like the run's events, because a service's handlers may refuse others."""

import json
from pathlib import Path

import pytest

from loadgen.measure.stamp import encode_event
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Marked, Stamping
from loadgen.resolve.loading import load_with_data
from loadgen.resolve.resolver import resolve
from loadgen.run.probe_events import ProbeEvents

SCENARIO = """\
version: 1
stamp: {pointer: /meta/trace}
clients:
  users: {count: 1, subscribe: "/a/*"}
  padded: {count: 1, publish: {channel: /a/x, rate: 1/s}}
  lines: {count: 1, publish: {channel: /b/x, rate: 1/s, payload: {file: m.jsonl}}}
  filled: {count: 1, publish: {channel: /c/x, rate: 1/s, payload: {json: {text: hello}}}}
"""


def test_without_payloads_and_places_probes_are_as_ever() -> None:
    assert ProbeEvents(Stamping(), 7, -1).event("/a/x", 4, 99) == encode_event(7, -1, 4, 99, 99, 160)


def test_a_probe_has_the_content_of_an_event_in_its_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.jsonl").write_text('{"line": 1, "meta": {"k": 2}}\n')
    Path("x.yaml").write_text(SCENARIO)
    scenario, tables = load_with_data("x.yaml")
    run = resolve(scenario, None, tables)
    stamping = Stamping(run.stamps)
    probes = ProbeEvents(stamping, 7, -1, run)
    for channel, content in (
        ("/b/probe", {"line": 1, "meta": {"k": 2}}),
        ("/c/x", {"text": "hello", "meta": {}}),
        # The group that publishes to this channel pads its events and so has no content to copy. The probe copies the
        # scenario's first content instead.
        ("/a/x", {"line": 1, "meta": {"k": 2}}),
    ):
        event = probes.event(channel, 5, 99)
        assert isinstance(event, str)
        assert stamping.read(event) == ((7, -1, 5, 99, 99), False)
        found = json.loads(event)
        del found["meta"]["trace"]
        assert found == content


@pytest.mark.parametrize("integrity", [False, True])
def test_padded_probes_have_their_stamp_at_the_place(integrity: bool) -> None:
    stamping = Stamping(Stamps(Place("user_property", "lg"), integrity))
    event = ProbeEvents(stamping, 7, -1).event("/a/x", 5, 99)
    assert isinstance(event, Marked)
    assert len(event.body) == 160
    assert stamping.read_beside(event.stamp, event.body) == ((7, -1, 5, 99, 99), False)
