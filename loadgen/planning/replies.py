"""Plan for replies: a responding group publishes (requests received) × (replies per request) events."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from loadgen.pacing import Arrival, Pace
from loadgen.planning.by_row import by_row
from loadgen.planning.fanout import SPELLED_OUT, Audience, GroupLoad, audience, group_loads, receivers
from loadgen.resolve import Clients, Group, Publishing, ResolvedRun, Variable
from loadgen.resolve.responding import Responding, of_request
from loadgen.scenario.template import Template

_NS_PER_S = 1_000_000_000
#: Maximum number of HTTP requests of one responding client that may be unanswered at once (see `users.responding`).
_IN_FLIGHT = 64


def planned(run: ResolvedRun) -> tuple[ResolvedRun, Audience | None, list[GroupLoad]]:
    """Return (a copy of the run, the copy's audience, the load of each of its groups).

    In the copy, scheduled publishes take the place of replies.

    The rate of the replies follows from the expected deliveries of requests. Deliveries are unknown (None)
    for replies whose channel is read from the request, and for all groups if the number of requests is
    unknown. If a group also publishes on a schedule, its replies count as more events of that schedule, with
    the same size and channel.
    """
    unknown: set[str] = set()
    more: dict[str, Variable] = {}
    groups, known = [], True
    for group in run.groups:
        respond = group.respond
        if respond is None:
            groups.append(group)
            continue
        asked = _requests_per_s(run, group, respond)
        if asked is None:
            known = False
            groups.append(group)
            continue
        rate, pace = asked
        channel = _channel(run, respond, more)
        if channel is None:
            unknown.add(group.name)
            channel = run.groups[0].channels[0].split("*")[0] + "unknown"
        groups.append(_publishing(group, respond, channel, rate * respond.count, pace))
    changed = msgspec.structs.replace(run, groups=tuple(groups), variables={**run.variables, **more})
    seen = audience(changed) if known else None
    loads = [
        replace(load, deliveries=None) if load.name in unknown else load
        for load in group_loads(changed, seen)
    ]
    return changed, seen, loads


def _requests_per_s(run: ResolvedRun, group: Group, respond: Responding) -> tuple[float, Pace | None] | None:
    """Return the requests per second that a group receives, and the pace of the group that publishes most of them.

    The rate applies at 100 % of the load curves. Return None if the rate is unknown.
    """
    by_number = by_row(run)
    if by_number is None or group.count * len(group.subscribe) > SPELLED_OUT:
        return None
    clients = Clients(by_number)
    heard = Counter(
        clients.client(number).subscriptions[respond.entry].channel
        for number in range(group.first, group.first + group.count)
    )
    seen = Audience(receivers(heard), spelled_out=True)
    rates: list[tuple[float, Pace]] = []
    for load in group_loads(run, seen):
        publish = run.publishing[load.name]
        rates.append((publish.pace.requests_per_s * publish.batch * (load.subscribers or 0.0), publish.pace))
    most = max(rates, default=None, key=lambda each: each[0])
    return sum(rate for rate, _ in rates), None if most is None else most[1]


def _channel(run: ResolvedRun, respond: Responding, more: dict[str, Variable]) -> str | None:
    """Return the template of the replies' channel, with a variable for each part that depends on the request.

    Return None if a part is read from the request's payload. All clients that publish are assumed to send requests
    equally often.
    """
    template = Template.parse(respond.channel)
    asking = [group for group in run.groups if group.publish is not None]
    names: dict[str, str] = {}
    for name in dict.fromkeys(filter(of_request, template.names)):
        if name == "request.client" and len(asking) == 1:
            variable = f"client of {asking[0].name}"
            more[variable] = Variable(min(asking[0].count, 1_000_000))
            names[name] = f"{{{variable}}}"
        elif name.startswith("request.channel.") and len(asking) == 1:
            segments = _segments(asking)
            number = int(name.removeprefix("request.channel."))
            if not 1 <= number <= len(segments):
                return None
            segment = Template.parse(segments[number - 1])
            renamed = {each: f"{{asked {each}}}" for each in segment.names}
            more |= {f"asked {each}": Variable(run.variables[each].count) for each in segment.names}
            names[name] = segment.render(renamed)
        else:
            return None
    return template.render({name: names.get(name, f"{{{name}}}") for name in template.names})


def _segments(asking: Sequence[Group]) -> list[str]:
    assert asking[0].publish is not None
    return asking[0].publish.channel.strip("/").split("/")


def _publishing(group: Group, respond: Responding, channel: str, rate: float, pace: Pace | None) -> Group:
    """Return the group with its replies added to its scheduled publishes."""
    if rate <= 0 or pace is None:
        return group
    own = group.publish
    if own is not None:
        grown = 1 + rate / own.batch / own.pace.requests_per_s
        return msgspec.structs.replace(
            group,
            publish=msgspec.structs.replace(
                own,
                events_per_s=own.events_per_s * grown,
                pace=replace(own.pace, requests_per_s=own.pace.requests_per_s * grown),
            ),
        )
    return msgspec.structs.replace(
        group,
        respond=None,
        publish=Publishing(
            over_http=respond.over_http,
            channel=channel,
            batch=1,
            payload_bytes=respond.payload_bytes,
            in_flight=_IN_FLIGHT if respond.over_http else None,
            events_per_s=rate,
            each_client=False,
            pace=Pace(requests_per_s=rate, arrival=Arrival.POISSON, curve=pace.curve),
        ),
    )
