"""Test the real user classes with Locust's real events, in separate processes, which Locust patches."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.users.player import Player, playing


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with playing() as started:
        yield started


def play(player: Player, script: str, tmp_path: Path, code: int = 0) -> tuple[Any, str]:
    """Run a script; return what it printed as JSON on its last line, and its standard error."""
    path = tmp_path / "my_users.py"
    path.write_text(script)
    done = player.play(path)
    assert done.code == code, done.out + done.err
    return json.loads(done.out.splitlines()[-1]) if done.out else None, done.err


HEAD = """
import json
from types import SimpleNamespace
from locust import HttpUser, TaskSet, between, events, task
from locust.env import Environment
from locust.exception import InterruptTaskSet, StopTest, StopUser
from loadgen.measure.checks import Checks
from loadgen.measure.failures import Failures
from loadgen.users import Participant, Publisher, Subscriber
from loadgen.users.declared import UserClassError
from loadgen.users.roles import attach
from loadgen.users.worker import NoLogins


def run_of(environment, **more):
    log = []
    plan = SimpleNamespace(subscriptions=(), publish=None, respond=None, behaviour=SimpleNamespace(
        reconnect=None, churn=None, drops=()))
    run = SimpleNamespace(
        logins=NoLogins(None), failures=Failures(), checks=Checks(), stopping=False, log=log,
        claim=lambda role: (log.append("claim"), plan)[1],
        wait_for_ramp=lambda plan: True, joined=lambda: log.append("joined"), left=lambda: log.append("left"),
        wait_for_timeline=lambda: None, wait_for_end=lambda: log.append("end"), report_error=lambda *a: None,
    )
    vars(run).update(more)
    attach(environment, run)
    return run
"""


def test_refusals_of_the_real_classes(player: Player, tmp_path: Path) -> None:
    script = f"""{HEAD}
said = []
for name, declared in (
    ("browse", {{"browse": task(lambda self: None)}}),
    ("wait_time", {{"wait_time": between(1, 2)}}),
    ("tasks", {{"tasks": [TaskSet]}}),
    ("_connect", {{"_connect": 1}}),
    ("payload", {{"payload": lambda self, x: {{}}}}),
    ("run", {{"run": lambda self: None}}),
):
    for base in (Subscriber, Publisher, Participant):
        try:
            type(base)("Mine", (base,), {{"__module__": "my_users", **declared}})
            said.append([name, None])
        except UserClassError as error:
            said.append([name, str(error)])


class Mixed(Subscriber, HttpUser):
    host = "http://127.0.0.1:1"


class Base(Subscriber):
    abstract = True

    def on_delivery(self, channel, event): ...


class Mine(Base):
    ...


try:
    Mine.wait_time = between(1, 2)
    said.append(["set", None])
except UserClassError as error:
    said.append(["set", str(error)])
print(json.dumps([said, [Mine.abstract, Base.abstract, Subscriber.abstract, Mine.tasks]]))
"""
    (said, others), _ = play(player, script, tmp_path)
    for name, sentence in said:
        # Users may use the name `_connect`: the harness's private attributes are not on the class, so they cannot
        # collide.
        assert (sentence is None) == (name == "_connect"), (name, sentence)
        assert sentence is None or sentence.startswith("my_users.py:"), sentence
    assert len(said) == 19
    assert others == [False, True, False, []]


@pytest.mark.parametrize("refused", ["    wait_time = between(1, 2)", "    @task\n    def mine(self): ..."])
def test_a_refused_class_ends_the_program_with_its_sentence_and_code_2(
    player: Player, refused: str, tmp_path: Path
) -> None:
    _, err = play(player, f"{HEAD}\nclass Reader(Subscriber):\n{refused}\n", tmp_path, code=2)
    (line,) = err.splitlines()
    assert line.startswith("loadgen: my_users.py:")
    assert "class Reader: " in line


def test_a_user_plays_its_client_once_whatever_its_code_raises(player: Player, tmp_path: Path) -> None:
    script = f"""{HEAD}
import gevent
environment = Environment()
found = []
for error in (ValueError("no"), StopUser(), StopTest(), InterruptTaskSet(), SystemExit(0), gevent.GreenletExit()):
    run = run_of(environment)

    class Reader(Subscriber):
        def __init__(self, environment):
            raise error

        def on_start(self):
            self.check("reached", 1)
            self.check("is odd", [])
            raise error

        def on_stop(self):
            raise error

    if isinstance(error, gevent.GreenletExit):
        del Reader.__init__
    user = Reader(environment)
    user.run()
    found.append([run.log, [e["where"].split(" at ")[0] for e in run.failures.to_list()], run.checks.to_dict()])
print(json.dumps(found))
"""
    found, _ = play(player, script, tmp_path)
    assert len(found) == 6
    for number, (log, where, checks) in enumerate(found):
        assert log == ["claim", "joined", "end", "left"]
        assert where == (["Reader.__init__()"] if number < 5 else []) + ["on_start()", "on_stop()"]
        assert checks == {"reached": {"passed": 1, "failed": 0}, "is odd": {"passed": 0, "failed": 1}}


def test_a_harness_failure_in_a_client_is_named_and_ends_no_process(player: Player, tmp_path: Path) -> None:
    script = f"""{HEAD}
environment = Environment()
class Reader(Subscriber): ...
found = []
for error in (RuntimeError("no"), BaseException("a panic")):
    def raising(*_):
        raise error
    run = run_of(environment, wait_for_end=raising)
    Reader(environment).run()
    found.append([run.log, [(e["kind"], e["message"]) for e in run.failures.to_list()]])
print(json.dumps(found))
"""
    found, _ = play(player, script, tmp_path)
    for (log, failures), message in zip(found, ("RuntimeError: no", "BaseException: a panic"), strict=True):
        assert log == ["claim", "joined", "left"]
        assert failures == [["harness", message]]


RESTING = f"""{HEAD}
import gevent
from gevent.event import Event
from gevent.pool import Group

connected, calls = Event(), []

class Connection:
    ended = Event()
    ended.set()
    retry_s = intent = None
    def __init__(self, *arguments, **named): ...
    def open(self, timeout_s):
        calls.append("open")
        connected.wait()
    def close(self):
        calls.append("close")

class Reader(Subscriber):
    def on_stop(self):
        calls.append("on_stop")

from loadgen.users import playing
playing.ClientConnection = Connection
environment, group, resting = Environment(), Group(), []
run = run_of(environment, start_at_end=resting.append)
run.claim("subscriber").subscriptions = ("one",)
run.claim("subscriber").behaviour = SimpleNamespace(
    reconnect=SimpleNamespace(again=True, first_ns=1, most_ns=1, jitter=False), churn=None, drops=())
run.log.clear()
user = Reader(environment)
first = user.start(group)
gevent.sleep(0.01)

def state():
    return [len(group), user.greenlet in group, user.greenlet.args == (user,), first.dead, list(calls), list(run.log)]
"""


def test_a_user_that_only_receives_rests_without_a_stack_until_the_end(
    player: Player, tmp_path: Path
) -> None:
    script = f"""{RESTING}
found = [state()]
connected.set()
gevent.sleep(0.01)
found.append(state())
found.append([bool(user.greenlet.started), user.greenlet is resting[0]])
resting[0].start()
group.join()
found.append([calls, run.log, run.failures.to_list()])
print(json.dumps(found))
"""
    (connecting, resting, greenlet, ended), _ = play(player, script, tmp_path)
    log = ["claim", "joined"]
    # Locust counts a user by its greenlet. It sees one, both while the client connects and afterwards, when the client
    # waits without running a greenlet.
    assert connecting == [1, True, True, False, ["open"], log]
    assert resting == [1, True, True, True, ["open"], log]
    assert greenlet == [False, True]
    assert ended == [["open", "close", "on_stop"], [*log, "left"], []]


@pytest.mark.parametrize("when", ["connecting", "connected"])
@pytest.mark.parametrize("kill", ["user.stop(force=True)", "group.kill()", "user.greenlet.kill(block=False)"])
def test_a_user_that_locust_kills_while_it_rests_ends_its_client(
    player: Player, when: str, kill: str, tmp_path: Path
) -> None:
    script = f"""{RESTING}
if {when!r} == "connected":
    connected.set()
    gevent.sleep(0.01)
{kill}
gevent.sleep(0.05)
resting[0].start()
gevent.sleep(0.05)
print(json.dumps([len(group), first.dead, calls, run.log, run.failures.to_list()]))
"""
    found, _ = play(player, script, tmp_path)
    assert found == [0, True, ["open", "close", "on_stop"], ["claim", "joined", "left"], []]


def test_a_failure_at_the_end_of_a_user_that_rests_is_one_of_the_harness(
    player: Player, tmp_path: Path
) -> None:
    script = f"""{RESTING}
connected.set()
gevent.sleep(0.01)

def close(self):
    raise RuntimeError("no")

Connection.close = close
resting[0].start()
group.join()
print(json.dumps([(each["kind"], each["where"].split(" at ")[0], each["message"]) for each in run.failures.to_list()]))
"""
    found, _ = play(player, script, tmp_path)
    assert found == [["harness", "a client", "RuntimeError: no"]]


LISTENERS = f"""{HEAD}
from loadgen.run.account import Account
from loadgen.run.locust.own_code import OwnCode

class Keeper:
    past = False
    def __init__(self):
        self.account = Account()
    def stop_process(self, reason, code):
        print(json.dumps([reason, int(code)]))
        raise SystemExit(int(code))

own, keeper = OwnCode(events), Keeper()
environment = Environment(events=events)
own.belong_to(keeper, environment)
"""


def test_listeners_that_raise_are_counted_and_the_others_are_called(player: Player, tmp_path: Path) -> None:
    script = f"""{LISTENERS}
called = []

@events.test_start.add_listener
def first(environment, **_):
    called.append("first")
    raise SystemExit(0)

@events.test_start.add_listener
def second(environment, **_):
    called.append("second")
    raise StopUser()

@events.test_start.add_listener
def third(environment, **_):
    called.append("third")
    json.loads("{{")

events.test_start.fire(environment=environment)
print(json.dumps([called, keeper.account.failures.to_list()]))
"""
    (called, failures), err = play(player, script, tmp_path)
    assert called == ["first", "second", "third"]
    assert [entry["kind"] for entry in failures] == ["user code"] * 3
    assert failures[0]["where"].startswith("test_start listener first() at my_users.py:")
    assert "(in json/" in failures[2]["where"]
    assert len(err.splitlines()) == 3


def test_requests_that_user_code_fires_are_checks(player: Player, tmp_path: Path) -> None:
    script = f"""{LISTENERS}
environment.create_local_runner()
fire = environment.events.request.fire
for number in range(4):
    fire(request_type="GET", name="/x", response_time=1, response_length=0,
         exception=ValueError("no") if number else None, context={{}})
with environment.events.request.measure("SQL", "select"):
    raise ValueError
# What Locust's own listener cannot take is the mistake of the code that fires it.
fire(request_type="GET", nme="/y")
print(json.dumps([keeper.account.checks.to_dict(), keeper.account.failures.to_list(),
                  environment.stats.total.num_failures]))
"""
    (checks, failures, counted), _ = play(player, script, tmp_path)
    assert checks["GET /x"] == {"passed": 1, "failed": 3}
    assert checks["SQL select"] == {"passed": 0, "failed": 1}
    assert counted == 4
    (failure,) = failures
    assert (failure["kind"], failure["where"].partition(" at ")[0]) == ("user code", "events.request.fire()")
    assert failure["where"].partition(" at ")[2].startswith("my_users.py:")


def test_a_listener_can_make_the_exit_code_worse_only(player: Player, tmp_path: Path) -> None:
    cases = [(3, 0, 3), (1, 0, 1), (1, 3, 1), (0, 1, 1), (0, None, 0), (None, 7, 7), (130, None, 130)]
    script = f"""{LISTENERS}
found = []
for decided, users in {[case[:2] for case in cases]}:
    environment.process_exit_code = decided
    def decide(environment, **_):
        environment.process_exit_code = users
    events.quitting.add_listener(decide)
    events.quitting.fire(environment=environment, reverse=True)
    events.quitting.remove_listener(decide)
    found.append(environment.process_exit_code)
print(json.dumps(found))
"""
    found, _ = play(player, script, tmp_path)
    assert found == [ends_with for _, _, ends_with in cases]


def test_what_fails_when_the_verdict_is_written_leaves_no_green(player: Player, tmp_path: Path) -> None:
    script = f"""{LISTENERS}
environment.process_exit_code = 0
keeper.past = True
@events.quitting.add_listener
def upload(environment, **_):
    raise OSError("no network")
events.quitting.fire(environment=environment, reverse=True)
print(json.dumps(environment.process_exit_code))
"""
    code, err = play(player, script, tmp_path)
    assert code == 3
    assert "quitting listener upload() at my_users.py:" in err


def test_a_failing_init_listener_ends_the_process_with_code_2(player: Player, tmp_path: Path) -> None:
    script = f"""{LISTENERS}
@events.init.add_listener
def begin(environment, **_):
    raise KeyError("TOKEN")
events.init.fire(environment=environment, runner=None, web_ui=None)
"""
    (reason, code), _ = play(player, script, tmp_path, code=2)
    assert code == 2
    assert reason.startswith("your code failed in init listener begin() at my_users.py:")


def test_a_greenlet_of_the_users_that_dies_is_counted(player: Player, tmp_path: Path) -> None:
    script = f"""{LISTENERS}
import gevent
def poll():
    raise ValueError("no")
gevent.spawn(poll).join()
gevent.spawn(lambda: 1 / 1).join()
print(json.dumps(keeper.account.failures.to_list()))
"""
    (failure,), _ = play(player, script, tmp_path)
    assert failure["kind"] == "user code"
    assert failure["where"].startswith("a greenlet at my_users.py:")
