"""Test that the message BEGIN carries the run to a worker unchanged, and that the worker refuses invalid runs."""

from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from loadgen.data.tables import Tables
from loadgen.planning.prices import load_prices
from loadgen.resolve import Clients
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run import master_messages, messages
from loadgen.run.coordinator import Coordinator
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Message
from loadgen.run.placement import Placement
from loadgen.run.target import Target
from loadgen.run.worker_info import WorkerInfo


class Line:
    """A line that fails if a message is sent, because the run has not begun."""

    def to_coordinator(self, message: Message) -> None:
        raise AssertionError

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        raise AssertionError


@pytest.fixture
def begins(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the BEGIN messages to two workers of `chat`, on a target that takes publishes over HTTP only."""
    url = "nchan+ws://127.0.0.1:1"
    run = resolve(load("chat", target=url), url)
    members = [WorkerInfo("one", 0, pid=1), WorkerInfo("two", 1, pid=2)]
    made = Coordinator(
        Line(), run, Tables(), Target(url), Placement(tmp_path), members, load_prices(None).snapshot()
    )
    return [messages.plain(made.begin(member.worker_id)) for member in members]


def received(begin: dict[str, Any]) -> Begin:
    message = master_messages.decoded(messages.BEGIN, msgspec.Raw(bytes(msgpack.dumps(begin))))
    assert isinstance(message, Begin)
    return message


def test_a_worker_gets_the_run_and_the_sockets_of_its_share(begins: list[dict[str, Any]]) -> None:
    here = [received(begin) for begin in begins]
    first, second = (begin.run for begin in here)
    assert first == second
    url = "nchan+ws://127.0.0.1:1"
    mine = resolve(load("chat", target=url), url)
    assert (first.groups, first.phases, first.totals) == (mine.groups, mine.phases, mine.totals)
    assert Clients(first).client(399) is not None
    assert sum(begin.sockets for begin in here) == first.totals.sockets == 600
    assert sum(begin.websockets for begin in here) == first.totals.websockets == 400
    # The master does not send parts of the run that workers do not need.
    assert (first.document, first.target, first.warnings) == ({}, None, ())


@pytest.mark.parametrize(
    ("key", "value"),
    [("groups", []), ("phases", {}), ("gates", [{"check": "x"}]), ("seed", "1"), ("groups", [{"name": "x"}])],
)
def test_a_run_that_cannot_be_is_refused_with_its_message(
    begins: list[dict[str, Any]], key: str, value: Any
) -> None:
    begin = {**begins[0], "run": {**begins[0]["run"], key: value}}
    with pytest.raises(ValueError, match=r"run|groups|seed"):
        received(begin)
    with pytest.raises(ValueError, match="run"):
        received({name: value for name, value in begins[0].items() if name != "run"})
