"""A client's planned behaviour: it drops its connection, leaves and comes back, or changes its subscriptions.

Each kind of behaviour runs in a separate greenlet, which starts when all subscriptions are ready. It acts at the times
in the client's plan, which do not depend on when earlier actions ended.
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
    """Yield functions that carry out the client's drops, leaves and subscription changes, if it has any."""
    behaviour = client.behaviour
    if behaviour.drops:
        yield lambda: _guarded(run, _drop, run, behaviour.drops, connection)
    churn = behaviour.churn
    if isinstance(churn, LifetimePlan):
        yield lambda: _guarded(run, _leave, run, churn, connection)
    elif churn is not None and client.subscriptions:
        yield lambda: _guarded(run, _change, run, churn, client, connection)


def _guarded(run: WorkerRun, action: Callable[..., None], *args: Any) -> None:
    """Call ``action`` for one client; record any error as a failure of the harness instead of raising it."""
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
            # The subscription was not ended, because it is not ready or there is no connection.
            continue
        if plan.away_ns:
            gevent.spawn_later(plan.away_ns / 1e9, _guarded, run, again)
        else:
            again()


def _publishing_ns(timeline: Timeline) -> int:
    return timeline.measure_end_ns - timeline.warmup_ns


def _cut(connection: ClientConnection, intent: str, with_close_frame: bool) -> None:
    """End the connection; if the service does not answer the close frame in time, end it without one."""
    life = connection.life
    answered = not connection.cut(intent, with_close_frame) or connection.ended.wait(CLOSE_TIMEOUT_S)
    if not answered and connection.life == life:
        connection.cut(intent, with_close_frame=False)
