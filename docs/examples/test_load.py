"""Testing a handler under load: copy this file; install loadgen and pytest."""

import itertools

from loadgen.testing import LoadRun, LocalEventApi, Namespace, load_run  # noqa: F401

ROOM = {
    "version": 1,
    "name": "room",
    "data": {"people": {"csv": "people.csv"}},
    "clients": {
        "members": {"count": 20, "ramp": "200/s", "subscribe": "/chat/inbox/{people.id}"},
        "backend": {
            "count": 2,
            "publish": {"channel": "/chat/inbox/{people.id}", "rate": "20/s", "payload": "200B"},
        },
    },
    "phases": {"warmup": "200ms", "measure": "2s", "drain": "1s"},
    "gates": ["delivery.loss == 0%"],
}
PEOPLE = [{"id": f"user-{number}"} for number in range(20)]


def test_each_inbox_gets_its_events(load_run: LoadRun) -> None:  # noqa: F811
    admitted = []

    def on_subscribe(ctx):
        """The handler under test, in Python; the deployed API has the same in JavaScript."""
        admitted.append(ctx.info.channel.path)

    with LocalEventApi([Namespace("chat", on_subscribe=on_subscribe)]) as api:
        run = load_run(ROOM, api=api, files={"people.csv": PEOPLE})
    assert len(set(admitted)) == 20
    # Assert counts of deliveries, not times: times depend on the machine.
    assert run.ledger["lost"] == 0, run
    assert run.ledger["delivered"] == run.ledger["expected"]
    assert set(run.deliveries["subscription"]) <= set(run.subscriptions["subscription"])


def test_a_handler_that_drops_events_is_found(load_run: LoadRun) -> None:  # noqa: F811
    calls = itertools.count(1)

    def on_publish(ctx):
        return [] if next(calls) % 5 == 0 else ctx.events

    with LocalEventApi([Namespace("chat", on_publish=on_publish)]) as api:
        run = load_run(ROOM, api=api, files={"people.csv": PEOPLE})
    assert not run.passed
    (gate,) = run.gates
    # The handler drops every fifth event, and each event has one reader: a fifth of the deliveries is lost.
    assert gate.status == "failed" or run.verdict == "invalid", run
    assert 0.1 < run.ledger["lost"] / run.ledger["expected"] < 0.3
