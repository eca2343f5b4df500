"""Plan a worker's echo lane: whether there is one, how often it publishes, and to which channel.

On its echo lane a worker publishes to a channel to which only it subscribes, and times the round trip of each event (an
echo).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import Clients, ResolvedRun
from loadgen.scenario.template import Template

#: Interval between a worker's echoes if the scenario does not set one.
DEFAULT_INTERVAL_NS: Final = 500_000_000
#: Size of an echo if no group says how large its events are.
_PAYLOAD_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class EchoPlan:
    """The settings of one worker's echo lane."""

    interval_ns: int
    #: Time (ns) from the start of the warm-up to the first echo, different for each worker, so that workers take turns.
    first_ns: int
    channel: str
    over_http: bool
    payload_bytes: int
    #: A sentence on why the lane cannot run, or None if it can.
    refusal: str | None = None
    #: The payload of each echo without its stamp; empty if the payload is padding.
    example: bytes = b""


def interval_ns(run: ResolvedRun, boot_ids: Iterable[str | None]) -> int | None:
    """Return the interval between a worker's echoes, or None for no echoes.

    By default, workers echo only if ``boot_ids`` shows that they run on more than one kernel, hence on several clocks.
    """
    wanted = run.phases.echo_ns
    if wanted is None:
        return DEFAULT_INTERVAL_NS if len(set(boot_ids)) > 1 else None
    return wanted or None


def plan_echo(
    run: ResolvedRun,
    clients: Clients,
    rules: ProtocolRules,
    every_ns: int,
    token: int,
    worker: int,
    workers: int,
) -> EchoPlan:
    """Return the plan of a worker's echo lane, which publishes like the group that publishes most.

    The namespace, the payload size and the transport are that group's.

    The channel's name holds the run's token and the worker's number, so no other run or worker uses it.
    """
    publishes = run.publishing
    if publishes:
        name = max(publishes, key=lambda each: publishes[each].events_per_s)
        publish = clients.client(run.group(name).first).publish
        assert publish is not None
        namespace = publish.channels().next().strip("/").split("/")[0]
        over_http, payload_bytes = publish.over_http, publish.payload_bytes
    else:
        # No group publishes on a schedule, and the publishes of user code are unknown: use the defaults.
        namespace = run.totals.namespaces[0]
        over_http, payload_bytes = rules.publishes_over_http, _PAYLOAD_BYTES
    # The channel's last segment has only letters and digits, since every protocol allows them.
    channel = f"/{namespace}/loadgenecho{token:x}w{worker}"
    return EchoPlan(
        interval_ns=every_ns,
        first_ns=every_ns * worker // max(1, workers),
        channel=channel,
        over_http=over_http,
        payload_bytes=payload_bytes,
        refusal=_refusal(run, rules, channel),
        example=publishes[name].example,
    )


def _refusal(run: ResolvedRun, rules: ProtocolRules, channel: str) -> str | None:
    """Return why the echo lane may not use the channel, or None if it may."""
    try:
        rules.validate_publish(channel)
        rules.validate_subscribe(channel)
    except ValueError as error:
        return str(error)
    if run.phases.echo_ns is not None:
        return None
    if run.journeys:
        return (
            "the code of users may subscribe to what would receive each echo; to have it nevertheless, say how often:"
            " phases.echo: 500ms"
        )
    for group in run.groups:
        for pattern in group.subscribe:
            if _receives(pattern, channel):
                return (
                    f"subscriptions of the scenario to {pattern} would receive each echo; to have it nevertheless,"
                    " say how often: phases.echo: 500ms"
                )
    return None


def _receives(pattern: str, channel: str) -> bool:
    """Return True if a subscription of the scenario to ``pattern`` may receive events of the lane's channel.

    A ``{name}`` in the pattern stands for a number. The name of the lane's channel is no number, so a pattern without a
    wildcard cannot match.
    """
    if not pattern.endswith("/*"):
        return False
    texts = Template.parse(pattern[:-1]).texts
    return re.match("[0-9]+".join(map(re.escape, texts)) + ".", channel) is not None
