"""Test that no load leaves this machine without permission, for every way to start a run."""

import socket
from pathlib import Path

import pytest

from loadgen.exits import ExitCode, RunError
from loadgen.planning import guard
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.target import Target

TARGET = "https://abc.appsync-api.eu-west-1.amazonaws.com/event"
SAID = (
    "the target is abc.appsync-api.eu-west-1.amazonaws.com, which is not this machine (no loopback address): a run of"
    " comments there, about $0.17 on AWS, starts only with --allow-remote"
)
REMOTE = ("--target", TARGET, "--api-key-env", "HOME")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (None, None),
        ("http://127.0.0.1:1/event", None),
        ("http://127.8.9.1:1/event", None),
        ("http://[::1]:1/event", None),
        ("ws://localhost:1/event/realtime", None),
        ("http://api.localhost/event", None),
        ("http://10.0.0.7:8700/event", "10.0.0.7:8700"),
        ("http://192.168.1.1/event", "192.168.1.1"),
        ("http://[fd00::1]/event", "[fd00::1]"),
        ("http://0.0.0.0:8700/event", "0.0.0.0:8700"),
        ("https://localhost.example.com/event", "localhost.example.com"),
        (TARGET, "abc.appsync-api.eu-west-1.amazonaws.com"),
        ("aws:load", "the stack load on AWS"),
        # This target is invalid, but that error is reported later, by the code that uses the target.
        ("nonsense", None),
    ],
)
def test_what_is_not_this_machine(target: str | None, name: str | None) -> None:
    run = resolve(load("comments"))
    where = guard.elsewhere(target, run)
    assert where == (None if name is None else guard.Elsewhere(name))
    prices = load_prices()
    assert (guard.check(run, prices, None, where).refusal is None) == (name is None)
    assert guard.check(run, prices, None, where, allow_remote=True) == guard.Check()


def test_a_name_of_ones_own_is_this_machine_if_all_of_its_addresses_are() -> None:
    run, asked = resolve(load("comments")), list[str]()

    def leads_here(name: str) -> bool:
        asked.append(name)
        return name == "here.test"

    assert guard.elsewhere("http://here.test:1/event", run, leads_here) is None
    assert guard.elsewhere("http://there.test:1/event", run, leads_here) == guard.Elsewhere("there.test:1")
    assert guard.elsewhere("mqtt://here.test", run, leads_here) is None
    assert asked == ["here.test", "there.test", "here.test"]


@pytest.mark.parametrize(
    ("found", "here"),
    [
        (["127.0.0.1"], True),
        (["127.0.0.1", "::1", "::ffff:127.0.0.1"], True),
        (["127.0.0.1", "192.0.2.1"], False),
        (["fe80::1%1"], False),
        ([], False),
    ],
)
def test_one_address_elsewhere_is_enough(
    found: list[str], here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = [(0, 1, 6, "", (host, 0)) for host in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert guard.resolves_to_loopback("name.test") is here


FILE = """
version: 1
connect: {{url: "{url}", messages: json}}
subscribe: {{send: {{type: s, id: "{{id}}", topic: "{{channel}}"}}, accepted: {{when: {{/type: ok}}, id: /id}}}}
publish: {{http: {{url: "{http}", body: {{data: "{{event}}", to: "{{channel}}"}}}}}}
deliver: {{when: {{/type: m}}, id: /s, event: /data}}
"""


@pytest.mark.parametrize(
    ("url", "http", "where"),
    [
        ("{target}/ws", "{target}/p", None),
        ("ws://127.0.0.1:7/ws", "{target}/p", "connect.url"),
        ("{target}/ws", "http://[::1]:8/p", "publish.http.url"),
        ("ws://192.0.2.2:18777/x?k={env:HOME}", "{target}/p", "connect.url"),
        ("{target}/ws", "https://x.example.com/{env:HOME}", "publish.http.url"),
        ("ws://127.0.0.1@192.0.2.2/", "{target}/p", "connect.url"),
        ("ws://192.0.2.2#@127.0.0.1/", "{target}/p", "connect.url"),
    ],
)
def test_a_protocol_file_leads_nowhere_but_to_the_target_and_nothing_is_resolved(
    url: str, http: str, where: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.format(url=url, http=http))

    def never(host: str) -> bool:
        raise AssertionError(f"{host} was resolved")

    target = f"{path}+ws://127.0.0.1:9"
    # An invalid target is refused later, by the code that uses it.
    assert guard.elsewhere(target, resolve(load("broadcast")), never) is None
    if where is None:
        assert Target.of(target, None).endpoints().loopback
        return
    with pytest.raises(RunError, match=f"{where} of the protocol file leads to") as refused:
        Target.of(target, None)
    assert refused.value.code == ExitCode.USAGE


def test_the_target_of_a_scenario_counts_as_well() -> None:
    run = resolve(load("comments", {"target.url": TARGET, "target.api_key_env": "HOME"}))
    where = guard.elsewhere(None, run)
    assert where == guard.Elsewhere("abc.appsync-api.eu-west-1.amazonaws.com")
    assert guard.elsewhere("http://127.0.0.1:1/event", run) is None


def test_an_allowed_run_that_is_dear_is_still_asked_about() -> None:
    run = resolve(load("comments", {"phases.measure": "10m"}))
    found = guard.check(run, load_prices(), None, guard.Elsewhere("x"), True)
    assert found.refusal is None
    assert found.question is not None
    assert "against x is estimated at" in found.question


def test_what_another_service_costs_is_not_said_in_prices_of_aws() -> None:
    run = resolve(load("comments", {"phases.measure": "10m"}))
    broker = guard.elsewhere("mqtt://broker.example.com", run)
    mqtt = guard.protocol_for("mqtt://broker.example.com", run)
    found = guard.check(run, load_prices(), None, broker, protocol=mqtt)
    assert "a run of comments there starts only with --allow-remote" in str(found.refusal)
    assert guard.check(run, load_prices(), None, broker, True, mqtt) == guard.Check()
