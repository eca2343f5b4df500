"""What a client does to its connection of its own accord: drops, leaves, changes of subscriptions.

Each runs in a greenlet of its own from the barrier on, by the absolute times of the client's plan.
"""

from collections.abc import Callable, Iterator
from typing import Any

import gevent

from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan, DropPlan, LifetimePlan, SubscriptionChurnPlan
from loadgen.users.connection import ClientConnection
from loadgen.users.reconnect import DROP, LEAVE
from loadgen.users.worker import Timeline, WorkerRun

CLOSE_TIMEOUT_S = 3.0


def tasks(run: WorkerRun, client: ClientPlan, connection: ClientConnection) -> Iterator[Callable[[], None]]:
    """Yield what is to be run beside the client's role; nothing for one that only stays connected."""
    behaviour = client.behaviour
    if behaviour.drops:
        yield lambda: _guarded(run, _drop, run, behaviour.drops, connection)
    churn = behaviour.churn
    if isinstance(churn, LifetimePlan):
        yield lambda: _guarded(run, _leave, run, churn, connection)
    elif churn is not None and client.subscriptions:
        yield lambda: _guarded(run, _change, run, churn, client, connection)


def _guarded(run: WorkerRun, action: Callable[..., None], *args: Any) -> None:
    """Run what a greenlet does for one client; its errors are the harness's failures and end there."""
    try:
        action(*args)
    except Exception as error:
        run.failures.add(HARNESS, "a client's behaviour", error)


def _drop(run: WorkerRun, drops: tuple[DropPlan, ...], connection: ClientConnection) -> None:
    timeline = run.wait_for_timeline()
    if timeline is None:
        return
    for drop in drops:
        run.wait_until(timeline.measure_ns + drop.offset_ns)
        if run.publishing_over:
            return
        _cut(connection, f"{DROP} {drop.number}", drop.with_close_frame)


def _leave(run: WorkerRun, plan: LifetimePlan, connection: ClientConnection) -> None:
    timeline = run.wait_for_timeline()
    if timeline is None:
        return
    for offset_ns in plan.offsets_ns(_publishing_ns(timeline)):
        run.wait_until(timeline.warmup_ns + offset_ns)
        if run.publishing_over:
            return
        _cut(connection, LEAVE, with_close_frame=True)


def _change(
    run: WorkerRun, plan: SubscriptionChurnPlan, client: ClientPlan, connection: ClientConnection
) -> None:
    timeline = run.wait_for_timeline()
    if timeline is None:
        return
    choices = plan.choices(len(client.subscriptions))
    for offset_ns in plan.offsets_ns(_publishing_ns(timeline)):
        subscription = client.subscriptions[next(choices)]
        run.wait_until(timeline.warmup_ns + offset_ns)
        if run.publishing_over:
            return
        again = connection.unsubscribe(subscription)
        if again is None:
            # Not there to be given up: being subscribed to, or without a connection.
            continue
        if plan.away_ns:
            gevent.spawn_later(plan.away_ns / 1e9, _guarded, run, again)
        else:
            again()


def _publishing_ns(timeline: Timeline) -> int:
    return timeline.measure_end_ns - timeline.warmup_ns


def _cut(connection: ClientConnection, intent: str, with_close_frame: bool) -> None:
    """End the connection; where the other side does not answer the close frame in time, without it."""
    life = connection.life
    answered = not connection.cut(intent, with_close_frame) or connection.ended.wait(CLOSE_TIMEOUT_S)
    if not answered and connection.life == life:
        connection.cut(intent, with_close_frame=False)
