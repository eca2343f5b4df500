"""Test Locust's hardened runners: connections act only for their own worker, and workers keep their options."""

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import locust.runners
import msgpack
import msgspec
import pytest
import zmq
from gevent import GreenletExit
from locust import User
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_RUNNING, MasterRunner, WorkerNode

from loadgen.run import runners
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER
from loadgen.run.runners import GuardedMaster, GuardedWorker
from tests.run.test_wire import until
from tests.system.harness import free_port


class Reader(User):
    """A Locust user class that workers can spawn."""


def environment(**options: Any) -> Environment:
    made = Environment(user_classes=[Reader])
    made.parsed_options = SimpleNamespace(
        enable_rebalancing=False, headless=False, web_base_path="", processes=None, join=None, **options
    )
    return made


class Site:
    def __init__(self) -> None:
        self.port = free_port()
        self.environment = environment()
        self.master = GuardedMaster(self.environment, "127.0.0.1", self.port)
        self.clients: list[Any] = []

    def client(self, name: str) -> "Client":
        made = Client(self.port, name)
        self.clients.append(made)
        return made

    def close(self) -> None:
        for client in self.clients:
            client.socket.close()
        self.master.greenlet.kill()
        self.master.server.close(linger=0)  # type: ignore[no-untyped-call]


class Client:
    """Sends messages to a master, under its own name or another one."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def say(self, kind: str, data: Any = None, of: str | None = None) -> None:
        self.socket.send(msgpack.dumps((kind, data, of or self.name)))

    def hear(self) -> list[str]:
        heard = []
        while self.socket.poll(0):
            heard.append(msgpack.loads(self.socket.recv(), strict_map_key=False)[0])
        return heard


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in (JOIN_MASTER, JOIN_WORKER):
        monkeypatch.delenv(name, raising=False)
    made = Site()
    yield made
    made.close()


@pytest.fixture
def faults(site: Site) -> runners.Faults:
    return site.master.faults


BEAT = {"state": "running", "current_cpu_usage": 1.0, "current_memory_usage": 1}
ENTRY = {"name": "event", "method": "PUBLISH", "num_requests": 5, "response_times": {1: 5}}
STATS = {
    "stats": [ENTRY],
    "stats_total": {**ENTRY, "name": "Aggregated"},
    "errors": {},
    "user_classes_count": {"Reader": 7},
    "user_count": 7,
}


def settled(site: Site, client: Client) -> None:
    """Wait until the master has processed all messages of a client."""
    client.say("heartbeat", BEAT)
    site.clients[0].hear()
    seen: list[str] = []

    def heard() -> bool:
        seen.extend(client.hear())
        return "heartbeat" in seen

    until(heard)


def test_a_worker_speaks_for_itself_whatever_name_it_gives(site: Site, faults: runners.Faults) -> None:
    one, two = site.client("one"), site.client("two")
    for client in (one, two):
        client.say("client_ready", "2.47.0")
    until(lambda: len(site.master.clients) == 2)
    two.say("heartbeat", BEAT, of="one")
    # The answer goes to worker two, the sender, although it gave the name "one". Read this answer now, so that
    # `settled` below waits for the answer to its own heartbeat.
    until(lambda: "heartbeat" in two.hear())
    two.say("spawning_complete", {"user_classes_count": {"Reader": 9}, "user_count": 9}, of="one")
    two.say("stats", STATS, of="one")
    two.say("logs", {"worker_id": "one", "logs": ["forged"]}, of="one")
    settled(site, two)
    assert site.master.clients["one"].state == "ready"
    assert site.master.clients["one"].user_classes_count == {}
    assert site.master.clients["two"].user_classes_count == {"Reader": 7}
    assert site.environment.worker_logs == {"two": ["forged"]}
    two.say("client_stopped", None, of="one")
    two.say("quit", None, of="one")
    until(lambda: "two" not in site.master.clients)
    assert "one" in site.master.clients
    assert not faults.counts


def test_what_a_stranger_on_this_machine_says_counts_nowhere(site: Site) -> None:
    one, stranger = site.client("one"), site.client("stranger")
    one.say("client_ready", "2.47.0")
    until(lambda: len(site.master.clients) == 1)
    for kind, data in (
        ("stats", STATS),
        ("exception", {"msg": "m", "traceback": "t"}),
        ("logs", {"logs": ["x"]}),
        ("quit", None),
    ):
        stranger.say(kind, data)
    # The master answers this message with "quit", as Locust's own master does for an unknown worker.
    stranger.say("spawning")
    until(lambda: "quit" in stranger.hear())
    assert site.environment.stats.entries == {}
    assert site.environment.stats.total.num_requests == 0
    assert site.environment.worker_logs == {}
    assert site.master.exceptions == {}
    assert list(site.master.clients) == ["one"]


def test_what_a_master_cannot_use_is_named_once_with_its_worker_and_it_listens_on(
    site: Site, faults: runners.Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    client = site.client("one")
    client.say("client_ready", "2.47.0")
    until(lambda: site.master.clients)
    for _ in range(3):
        client.say("heartbeat", {"state": "\x1b[2J"})
        client.say("stats", {})
        client.say("locustfile", {"version": "2.47.0"})
    settled(site, client)
    assert sum(faults.counts.values()) == 9
    assert len(faults.counts) == 3
    assert "locustfile" not in client.hear()
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "worker one sent a" in line]) == 3
    assert "\x1b" not in "".join(said)


def test_messages_of_the_users_own_code_are_passed_on_with_their_true_sender(
    site: Site, faults: runners.Faults
) -> None:
    heard: list[tuple[str, Any]] = []

    def listen(environment: Environment, msg: Any) -> None:
        heard.append((msg.node_id, msg.data))

    site.master.register_message("mine", listen)
    client = site.client("one")
    client.say("client_ready", "2.47.0")
    time = {"__datetime__": True, "as_str": "20261128T12:00:00.000000"}
    client.say("mine", {"any": [1, {"thing": time}]}, of="two")
    client.socket.send(b"\x93\xa4mine" + b"\x91" * 2_000 + b"\x01\xa1x")
    client.say("mine", {"__datetime__": True})
    client.say("others", 1)
    settled(site, client)
    ((sender, data),) = heard
    assert sender == "one"
    assert data["any"][1]["thing"].year == 2026
    assert len(faults.counts) == 3


def test_names_do_not_pile_up_on_a_master(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_MOST_ROWS", 10)
    monkeypatch.setattr(runners, "_MOST_WORKERS", 3)
    client = site.client("one")
    client.say("client_ready", "2.47.0")
    for number in range(30):
        entry = {**ENTRY, "name": f"event-{number}"}
        error = {"name": "n", "method": "m", "error": f"e{number}", "occurrences": 1}
        client.say("stats", {**STATS, "stats": [entry], "errors": {str(number): error}})
        client.say("exception", {"msg": "m", "traceback": f"t{number}"})
    settled(site, client)
    assert len(site.environment.stats.entries) == 10
    assert len(site.environment.stats.errors) == 10
    assert len(site.master.exceptions) == 10
    for number in range(5):
        site.client(f"more-{number}").say("client_ready", "2.47.0")
    until(lambda: len(site.master.worker_indexes) == 3)
    gevent.sleep(0.1)
    assert len(site.master.clients) == 3


def test_a_master_does_not_change_a_workers_own_options(site: Site) -> None:
    own = environment(auth="mine")
    worker = GuardedWorker(own, "127.0.0.1", site.port)
    try:
        until(lambda: site.master.clients)

        def told(kind: str, data: Any) -> Any:
            return worker._from_master(kind, msgspec.Raw(msgpack.dumps(data)))

        spawn = {
            "timestamp": 1.0,
            "host": None,
            "stop_timeout": None,
            "parsed_options": {"auth": "theirs", "join": "/etc/passwd", "of_the_user": 1},
        }
        assert told("spawn", {**spawn, "user_classes_count": {"Reader": 1}})["parsed_options"] == {
            "of_the_user": 1
        }
        with pytest.raises(ValueError, match="no user class 'os' is here"):
            told("spawn", {**spawn, "user_classes_count": {"os": 1}})
        (name,) = site.master.clients
        site.master.send_message("update_user_class", {"user_class_name": "Reader", "host": "evil"}, name)
        site.master.send_message("spawn", {"timestamp": "never"}, name)
        until(lambda: len(worker.faults.counts) == 2)
        assert all(sentence.startswith("the master sent a ") for sentence in worker.faults.counts)
        assert not site.master.faults.counts
        assert Reader.host is None
    finally:
        worker.greenlet.kill()
        worker.client.close(linger=0)  # type: ignore[no-untyped-call]  # Locust's has no types


def test_a_port_that_is_taken_is_said_in_a_sentence_and_is_no_failed_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class EndedError(Exception):
        """Raised instead of ending the process."""

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", end)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndedError, match=r"^2$"):
            GuardedMaster(environment(), "127.0.0.1", port)
    assert capsys.readouterr().err == (
        f"loadgen: the master cannot listen at 127.0.0.1:{port} (Address already in use): stop what uses the port,"
        " or choose another with --master-bind-port\n"
    )


class Shape:
    """A load shape that counts how often a test begins, and never ends a test."""

    def __init__(self) -> None:
        self.begun = 0

    def reset_time(self) -> None:
        self.begun += 1

    def tick(self) -> tuple[int, float]:
        return 1, 1.0


def test_a_start_in_the_last_second_of_the_test_before_is_not_ignored(site: Site) -> None:
    master: Any = site.master
    shape: Any = Shape()
    site.environment.shape_class = shape

    def ending() -> None:
        gevent.sleep(0.2)
        master.shape_greenlet = None

    # Bring the master into the state in which its workers have stopped, but its greenlet of the load shape has not
    # ended yet.
    master.update_state("stopped")
    master.shape_greenlet = gevent.spawn(ending)
    master.start_shape()
    assert shape.begun == 1
    # While a test runs, another start has no effect, as in Locust.
    master.start_shape()
    assert shape.begun == 1
    master.shape_greenlet.kill()


def test_a_silent_worker_counts_as_missing_as_late_as_a_silent_master(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A healthy worker may be silent for seconds on a machine whose cores are all taken."""
    runners.install()
    worker = WorkerNode("w", STATE_RUNNING, locust.runners.HEARTBEAT_LIVENESS)
    master: Any = SimpleNamespace(
        connection_broken=False,
        clients=SimpleNamespace(all=[worker]),
        _users_dispatcher=None,
        worker_count=1,
        spawning_completed=False,
    )
    silent_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal silent_s
        if worker.state == STATE_MISSING:
            raise GreenletExit
        silent_s += seconds

    monkeypatch.setattr(locust.runners, "gevent", SimpleNamespace(sleep=sleep))
    with pytest.raises(GreenletExit):
        MasterRunner.heartbeat_worker(master)
    # Locust may react two intervals late: one because it counts the silent intervals down to -1 instead of 0, and one
    # because it reacts only at the next interval.
    assert runners.SILENCE_S <= silent_s <= runners.SILENCE_S + 2 * locust.runners.HEARTBEAT_INTERVAL
