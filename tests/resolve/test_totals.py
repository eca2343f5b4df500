"""Test that workers, plans and limits count the sockets that users really open.

The tests cover each target with each shipped scenario.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen.planning import returns, wording
from loadgen.planning.estimate import Estimate, estimate
from loadgen.planning.limits import RESERVE
from loadgen.planning.machine import needs
from loadgen.planning.peaks import Rates, peak
from loadgen.planning.prices import load_prices
from loadgen.protocol.base import Service
from loadgen.resolve import ClientPlan, Clients, ResolvedRun, resolver
from loadgen.resolve.loading import load
from loadgen.resolve.rows import ClientRows
from loadgen.resolve.run import decoded, encoded
from loadgen.run.shares import shares
from loadgen.scenario import ScenarioError
from loadgen.targets import protocol_of
from loadgen.users import playing
from loadgen.users.code import UserCode
from loadgen.users.worker import NoLogins, WorkerRun
from tests.scenario.shipped import SHIPPED

TARGETS = (
    None,
    "https://abc.appsync-api.eu-west-1.amazonaws.com/event",
    "mqtt://127.0.0.1:1883",
    "mqtt+ws://127.0.0.1:8083/mqtt",
    "nchan+ws://127.0.0.1:8080",
    "nats+ws://127.0.0.1:8080",
)
#: Scenarios without user code. The connections of a scenario with user code depend on that code
#: (tests/system/users/test_journeys.py).
SCENARIOS = tuple(entry.name for entry in SHIPPED if entry.name != "support-chat")
#: Scenarios that a service refuses, because it lacks wildcards, several channels per connection, or several
#: events per request.
REFUSED = {
    ("nchan+ws://127.0.0.1:8080", "comments"),
    ("nchan+ws://127.0.0.1:8080", "subscription-churn"),
    ("nchan+ws://127.0.0.1:8080", "telemetry"),
    ("nats+ws://127.0.0.1:8080", "telemetry"),
    # Only AppSync Events and AppSync GraphQL have the kind of login that the clients of private-feeds use.
    *((target, "private-feeds") for target in TARGETS[2:]),
}
TAKEN = [(target, name) for target in TARGETS for name in SCENARIOS if (target, name) not in REFUSED]


def run_of(target: str | None, name: str, settings: dict[str, str] | None = None) -> ResolvedRun:
    return played(target, name, settings)[0]


def played(
    target: str | None, name: str, settings: dict[str, str] | None = None
) -> tuple[ResolvedRun, Clients]:
    run, tables = resolver.run_of(name, [f"{key}={value}" for key, value in (settings or {}).items()], target)
    return run, Clients(run, tables, ClientRows(run, tables))


@dataclass
class Opened:
    """Numbers of connections and HTTP clients that were opened."""

    connections: int = 0
    http: int = 0

    @property
    def sockets(self) -> int:
        return self.connections + self.http


def opened_by(monkeypatch: pytest.MonkeyPatch, run: ResolvedRun, clients: Clients) -> Opened:
    """Count the connections that one client of each group opens; return them multiplied by the clients in the group.

    The users' real code runs. An HTTP client opens its socket when it first sends.
    """
    made = Counter[str]()

    def connection(*_: Any, **__: Any) -> Any:
        made["connections"] += 1
        return SimpleNamespace(open=lambda _: None, most_unanswered=0)

    def http_client(*_: Any, **__: Any) -> Any:
        made["http"] += 1
        return SimpleNamespace()

    monkeypatch.setattr(playing, "ClientConnection", connection)
    monkeypatch.setattr(playing, "GeventHttpClient", http_client)
    monkeypatch.setattr(playing, "tasks", lambda *_: ())
    monkeypatch.setattr(playing, "OpenLoopPublisher", lambda *_: SimpleNamespace())
    worker = cast(
        WorkerRun,
        SimpleNamespace(
            logins=NoLogins(cast(Service, SimpleNamespace(http_url="http://127.0.0.1:9/"))),
            failures=SimpleNamespace(add=lambda *_: None),
            dialer=None,
            stamping=clients.stamping,
            recorder=SimpleNamespace(undecodable=None),
            stopping=True,
        ),
    )
    total = Opened()
    for group in run.groups:
        plan: ClientPlan = clients.client(group.first)
        made.clear()
        client = playing.Client(worker, plan, cast(UserCode, SimpleNamespace(on_delivery=None)))
        client._made_connection()
        if plan.publish is not None:
            client._made_publisher()
        total.connections += made["connections"] * group.count
        total.http += made["http"] * group.count
    return total


@cache
def planned(target: str | None, name: str) -> Estimate:
    return estimate(run_of(target, name), load_prices())


@pytest.mark.parametrize(("target", "name"), TAKEN)
def test_every_part_counts_what_the_users_open(
    target: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, clients), plan = played(target, name), planned(target, name)
    real, totals = opened_by(monkeypatch, run, clients), run.totals
    assert (totals.websockets, totals.http, totals.sockets) == (real.connections, real.http, real.sockets)
    # Each worker gets a share of these sockets, and checks the share against its limits of open files and
    # local ports.
    for weights in ([1], [1, 2], [3, 1, 1]):
        given = shares(run, [Fraction(weight) for weight in weights])
        assert sum(share.clients for share in given) == totals.clients
        assert sum(share.sockets for share in given) == real.sockets
        assert sum(share.websockets for share in given) == real.connections
        assert sum(share.subscriptions for share in given) == totals.subscriptions
    # `loadgen plan` counts the same sockets in its quotas, operations, machine needs and printed text.
    uses = {use.name: use.asked for use in plan.uses}
    connecting = [group for group in run.groups if group.holds_connections]
    assert sum(group.count for group in connecting) == uses["connections"] == real.connections
    assert uses["new_connections_per_s"] == sum(min(group.ramp_per_s, group.count) for group in connecting)
    again = returns.of_run(run)
    assert plan.cost.usage.operations["connect"] == pytest.approx(real.connections + again.connects)
    assert plan.cost.usage.operations["subscribe"] == pytest.approx(totals.subscriptions + again.subscribes)
    assert plan.hour.connection_minutes == pytest.approx(real.connections * 60)
    assert plan.needs.sockets == real.sockets
    assert plan.needs.open_files == real.sockets + RESERVE
    assert plan.to_dict()["connections"] == real.connections
    assert f"{real.connections:,} connections" in wording.heading(plan)
    # There are HTTP requests only if a group publishes over HTTP, and WebSocket requests only if a group uses those.
    rates = Rates(run, plan.cost.loads)
    by_http = {group.name for group in run.groups if group.publish is not None and group.publish.over_http}
    assert (peak(rates.requests(over_http=True)) > 0) == bool(by_http) == (real.http > 0)
    assert (
        (peak(rates.requests(over_http=False)) > 0) == rates.over_websocket == (set(run.publishing) > by_http)
    )
    assert (rates.each_connection() > 0) == rates.over_websocket
    # The run is unchanged after it was encoded for the Locust process and the workers.
    assert decoded(encoded(run)) == run
    assert decoded(encoded(run)).totals == totals


@pytest.mark.parametrize(("target", "name"), sorted(REFUSED))
def test_what_a_service_cannot_do_is_refused(target: str, name: str) -> None:
    with pytest.raises(ScenarioError):
        run_of(target, name)


def test_chat_on_a_target_that_takes_publishes_by_http_only_has_six_hundred_sockets() -> None:
    run = run_of("nchan+ws://127.0.0.1:8080", "chat")
    assert (run.totals.websockets, run.totals.http, run.totals.sockets) == (400, 200, 600)
    (share,) = shares(run, [Fraction(1)])
    assert (share.sockets, share.websockets) == (600, 400)


def test_participants_via_http_on_a_broker_publish_over_the_connection_that_they_have() -> None:
    settings = {
        "clients.writers.publish.via": "http",
        "clients.writers.count": "100",
        "clients.lurkers.count": "1",
    }
    broker = run_of("mqtt://127.0.0.1:1883", "chat", settings)
    assert (broker.totals.websockets, broker.totals.sockets) == (101, 101)
    (share,) = shares(broker, [Fraction(1)])
    assert (share.sockets, share.websockets) == (101, 101)
    # On AppSync Events, each of the hundred writers has a second socket, because it publishes over HTTP.
    assert run_of(None, "chat", settings).totals.sockets == 201
    slow = needs(broker, estimate(broker, load_prices()).cost.loads, None, 1.0)
    assert slow.sockets_most == slow.sockets == 101


def test_publishers_over_http_hold_a_connection_where_the_target_has_no_http() -> None:
    settings = {"clients.commenters.drops": "[{at: 1s, share: 50%}]"}
    with pytest.raises(
        ScenarioError, match="has drops, but only publishes over HTTP: it holds no connection"
    ):
        load("comments", settings)
    run = run_of("mqtt://127.0.0.1:1883", "comments", settings)
    assert run.group("commenters").drops[0].share_percent == 50
    nchan = "nchan+ws://127.0.0.1:8080"
    with pytest.raises(ScenarioError, match="on this target it publishes over HTTP and holds no connection"):
        load(
            "broadcast",
            {
                "clients.announcer.publish.via": "websocket",
                "clients.announcer.drops": "[{at: 1s, share: 50%}]",
            },
            target=nchan,
        )


@pytest.mark.parametrize("target", TARGETS)
def test_the_target_of_a_scenario_counts_as_that_of_the_command_line(target: str | None) -> None:
    said = {} if target is None else {"target.url": target}
    if target is not None and protocol_of(target).name == "appsync-events":
        said["target.api_key_env"] = "SOME_NAME"
    assert resolver.resolve(load("broadcast", said)).groups == run_of(target, "broadcast").groups
