"""Check that the parts of a scenario fit together, and warn about allowed but doubtful settings."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, product
from math import prod

from loadgen.config.problems import Path, Problem
from loadgen.config.text import nearest
from loadgen.config.units import format_duration
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import responses
from loadgen.resolve.logins import check_logins, logins_in, secrets_of
from loadgen.resolve.transport import holds_connections, over_http
from loadgen.scenario.curves import MAX_BURSTS, Form, LoadBursts
from loadgen.scenario.data import Data, no_source, split
from loadgen.scenario.gates import LongGate
from loadgen.scenario.models import MAX_CLIENTS, Group, Phases, Publish, Variable
from loadgen.scenario.payload import Content, check_payload, check_stamps, names_in, unknown
from loadgen.scenario.points import Points, Replay
from loadgen.scenario.scenario import Scenario
from loadgen.scenario.template import Template, TemplateError
from loadgen.targets import protocol_of

Groups = Mapping[str, Group]
Variables = Mapping[str, Variable]
Sources = Mapping[str, Data]

#: The stamp of an event (token, publisher, sequence, two times) is about this long as JSON.
_STAMP_BYTES = 80
_MATCHES_TRIED = 2_000
_NS_PER_S = 1_000_000_000


def protocol_for(scenario: Scenario, target: str | None = None) -> TargetProtocol:
    """Return the protocol of the URL ``target``, or else of the scenario's target, or else of the embedded server."""
    return protocol_of(_url(scenario, target))


def _url(scenario: Scenario, target: str | None) -> str | None:
    return target or (scenario.target.url if scenario.target is not None else None)


def check(scenario: Scenario, target: str | None = None) -> Iterator[Problem]:
    """Yield the problems between the parts of a scenario; each part by itself is valid.

    ``target`` is the URL of a target that replaces the scenario's own: the rules of its protocol apply.
    """
    protocol = protocol_for(scenario, target)
    rules = protocol.rules
    clients, variables, data, said = scenario.clients, scenario.variables, scenario.data, scenario.target
    if said is not None:
        try:
            protocol_of(said.url).endpoints(said.url)
        except ValueError as error:
            yield Problem(("target", "url"), f"cannot be used: {error}")
    yield from _check_clients(clients)
    for name, group in clients.items():
        if group.publish is not None:
            yield from _check_profile(
                ("clients", name, "publish", "profile"), group.publish.profile, scenario.phases
            )
    for name, group in clients.items():
        yield from _check_abilities(("clients", name), group, rules)
    yield from check_logins(clients, data, protocol)
    yield from _unchecked(scenario)
    yield from responses.check(clients, variables, data, rules)
    # Channel names must not use columns that contain a login's secret, so collect these columns first.
    secrets = secrets_of(clients, data)
    used = {name for _, login in logins_in(clients) for name in login.columns}
    for path, source, validate in templates(clients, rules):
        try:
            template = Template.parse(source)
        except TemplateError as error:
            yield Problem(path, str(error))
            continue
        used.update(template.names)
        yield from _check_template(path, template, variables, data, secrets, validate)
    stamps = scenario.stamps
    yield from check_stamps(stamps, rules, _over_http(clients, rules))
    for path, made in payloads(clients):
        yield from check_payload(path, made, stamps, rules)
        for place, name in names_in(path, made):
            used.add(name)
            if (why := _wrong_payload_name(name, variables, data, secrets)) is not None:
                yield Problem(place, why)
    for name in variables:
        if name not in used:
            yield Problem(("variables", name), f"is used by no channel; write {{{name}}} in one or remove it")
    meant = {names[0] for names in map(split, used) if names is not None}
    # User classes may read any data in their code, so no data is reported as unused if a group has one.
    for name in data if not any(group.users for group in clients.values()) else ():
        if name not in meant:
            yield Problem(
                ("data", name),
                f"is used nowhere; write {{{name}.COLUMN}} in a channel, payload or login, or remove it",
            )


def _unchecked(scenario: Scenario) -> Iterator[Problem]:
    """Yield a problem for each gate on altered deliveries if the scenario does not check content (`integrity`)."""
    for number, gate in enumerate(scenario.gates):
        text = gate.check if isinstance(gate, LongGate) else gate
        if "delivery.altered" in text and not scenario.integrity:
            yield Problem(("gates", number), "asks for altered deliveries, which needs 'integrity: true'")


def _check_abilities(path: Path, group: Group, rules: ProtocolRules) -> Iterator[Problem]:
    """Yield a problem for each setting of a group that its target's protocol does not support."""
    if group.users is not None and (rules.one_subscription or not rules.subscriptions_change):
        yield Problem(
            (*path, "users"),
            "cannot be: on this target a subscription lasts as long as its connection, and users subscribe and"
            " unsubscribe as they like",
        )
    if rules.one_subscription and len(group.subscribe) > 1:
        yield Problem(
            (*path, "subscribe"),
            f"has {len(group.subscribe)} channels, and on this target a connection has one; write more groups or"
            " clients with one channel each",
        )
    if not rules.subscriptions_change and group.churn is not None and group.churn.changes_per_s is not None:
        yield Problem(
            (*path, "churn", "subscriptions"),
            "cannot be: on this target a subscription lasts as long as its connection; use 'lifetime'",
        )
    publish = group.publish
    if publish is None:
        return
    if not rules.batches and publish.batch > 1:
        yield Problem(
            (*path, "publish", "batch"),
            f"must be 1, not {publish.batch}: on this target each publish has one event",
        )
    if group.users is not None or holds_connections(group, rules):
        return
    for key in ("reconnect", "drops", "churn", "slow"):
        if getattr(group, key) and publish.via == "http":
            yield Problem(path, f"has {key}, but only publishes over HTTP: it holds no connection; drop it")
        elif getattr(group, key):
            yield Problem(
                (*path, key),
                "cannot be: on this target it publishes over HTTP and holds no connection; drop it",
            )


def _check_clients(clients: Groups) -> Iterator[Problem]:
    # User classes may subscribe and publish in their code, so a group that runs one may do both.
    coded = any(group.users for group in clients.values())
    if not coded and not any(group.subscribe for group in clients.values()):
        yield Problem(("clients",), "has no group that subscribes; give one of them 'subscribe'")
    if not coded and not any(group.publish for group in clients.values()):
        yield Problem(("clients",), "has no group that publishes; give one of them 'publish'")
    total = sum(group.count for group in clients.values())
    if total > MAX_CLIENTS:
        yield Problem(("clients",), f"has {total} clients in all; at most {MAX_CLIENTS} are possible")


def _check_profile(path: Path, profile: Points | Form, phases: Phases) -> Iterator[Problem]:
    if isinstance(profile, Replay):
        yield Problem(
            (*path, "csv"),
            "names a file, which is read with a scenario's own file only; give the points instead",
        )
    if isinstance(profile, LoadBursts):
        count = phases.measure_ns // profile.bursts.every_ns
        if count > MAX_BURSTS:
            yield Problem(path, f"has {count} bursts in the measure phase; at most {MAX_BURSTS} are possible")


def _check_template(
    path: Path,
    template: Template,
    variables: Variables,
    data: Sources,
    secrets: Mapping[str, frozenset[str]],
    validate: Callable[[str], object],
) -> Iterator[Problem]:
    names = dict.fromkeys(template.names)
    wrong = [why for name in names if (why := _wrong_name(name, variables, data, secrets))]
    yield from (Problem(path, why) for why in wrong)
    if wrong or any(map(split, template.names)):
        # The channels depend on rows of data; `loadgen.resolve.data` checks the channel of each row.
        return
    try:
        validate(template.render(largest(template, variables)))
    except ValueError as error:
        yield Problem(path, f"cannot be used: {error}")


def largest(template: Template, variables: Variables) -> dict[str, int]:
    """Return the largest value of each variable of a template.

    The largest value has the longest text, so a channel that is valid with it is valid with all values.
    """
    return {name: variables[name].count - 1 for name in template.names if name in variables}


def _wrong_name(
    name: str, variables: Variables, data: Sources, secrets: Mapping[str, frozenset[str]]
) -> str | None:
    """Return why a name in the braces of a channel cannot be used, or None if it can.

    ``secrets`` are the secret columns of each data file; see `loadgen.resolve.logins.secrets_of`.
    """
    meant = split(name)
    if meant is None:
        if name in variables:
            return None
        if name in data:
            return f"has {{{name}}}, which is data: name one of its columns too, as in {{{name}.id}}"
        known = nearest(name, variables) or "; there are none (key variables)"
        return f"has {{{name}}}, which is not a variable{known}"
    source, column = meant
    if source not in data:
        return no_source(name, data)
    if not column:
        return f"has {{{name}}} without a column; write {{{source}.COLUMN}}"
    if column in secrets[source]:
        return f"has {{{name}}}, a secret column, which would get into the record; only logins may use it"
    return None


def _wrong_payload_name(
    name: str, variables: Variables, data: Sources, secrets: Mapping[str, frozenset[str]]
) -> str | None:
    """Return why a name in the braces of a payload cannot be used, or None if it can."""
    if split(name) is not None:
        return _wrong_name(name, variables, data, secrets)
    if name in variables:
        return f"has {{{name}}}, a variable, which only channels have; use a column of data"
    return unknown(name, data)


def _over_http(clients: Groups, rules: ProtocolRules) -> Iterator[Path]:
    for name, group in clients.items():
        if group.publish is not None and over_http(group.publish.via, rules):
            yield ("clients", name, "publish", "via")


def payloads(clients: Groups) -> Iterator[tuple[Path, Content]]:
    """Yield (place in the scenario, payload) for each payload except those that are only padding of one size."""
    for name, group in clients.items():
        if group.publish is not None and group.publish.made is not None:
            yield ("clients", name, "publish", "payload"), group.publish.made


def templates(clients: Groups, rules: ProtocolRules) -> Iterator[tuple[Path, str, Callable[[str], object]]]:
    """Yield (place in the scenario, template, function that checks a channel) for each template of channels."""
    for name, group in clients.items():
        for number, source in enumerate(group.subscribe):
            yield ("clients", name, "subscribe", number), source, rules.demand_subscribable
        if group.publish is not None:
            yield ("clients", name, "publish", "channel"), group.publish.channel, rules.validate_publish
        if group.respond is not None:
            yield from responses.templates(name, group.respond, rules)


def warnings(scenario: Scenario, target: str | None = None) -> Iterator[str]:
    """Yield a sentence for each setting that is probably a mistake, or above the service's default quotas.

    ``target`` is as in `check`. The service's quotas do not apply to the embedded server.
    """
    rules = protocol_for(scenario, target).rules
    embedded = _url(scenario, target) is None
    variables, clients, phases = scenario.variables, scenario.clients, scenario.phases
    publishers = {name: group for name, group in clients.items() if group.publish is not None}
    for name, group in clients.items():
        for number, drop in enumerate(group.drops):
            if drop.at_ns + drop.over_ns >= phases.measure_ns:
                yield (
                    f"clients.{name}.drops.{number} is not over before the end of the measure phase "
                    f"({format_duration(phases.measure_ns)}): it is not measured whole"
                )
    yield from responses.warnings(clients, phases)
    for name, group in publishers.items():
        assert group.publish is not None
        where = f"clients.{name}.publish"
        yield from _publish_warnings(where, group, group.publish, phases, rules)
        if not _heard(group.publish.channel, clients, variables, rules):
            yield (
                f"{where}.channel {group.publish.channel!r} seems to match no group's 'subscribe': "
                "no client would receive its events"
            )
    most = rules.subscriptions_per_connection
    for name, group in clients.items():
        if not embedded and most is not None and len(group.subscribe) > most:
            yield (
                f"clients.{name} has {len(group.subscribe)} subscriptions on each connection, "
                f"above the service's default quota of {most:g}"
            )
    lasting_s = (phases.ready_timeout_ns + phases.publishing_ns + phases.drain_ns) / _NS_PER_S
    if rules.connection_lifetime_s is not None and lasting_s > rules.connection_lifetime_s:
        hours = rules.connection_lifetime_s / 3600
        yield f"phases last longer than the {hours:g} h after which the service ends a connection"
    if embedded:
        return
    connects_per_s = sum(
        min(group.ramp_per_s, group.count) for group in clients.values() if holds_connections(group, rules)
    )
    if rules.connects_per_s is not None and connects_per_s > rules.connects_per_s:
        yield (
            f"clients connect at {connects_per_s:g}/s, "
            f"above the service's default quota of {rules.connects_per_s:g}/s"
        )
    events_per_s = sum(
        group.publish.events_per_s(group.count) * group.publish.peak_load
        for group in publishers.values()
        if group.publish is not None
    )
    if rules.events_per_s is not None and events_per_s > rules.events_per_s:
        yield (
            f"clients publish up to {events_per_s:g} events/s, "
            f"above the service's default quota of {rules.events_per_s:g}/s"
        )


def _publish_warnings(
    where: str, group: Group, publish: Publish, phases: Phases, rules: ProtocolRules
) -> Iterator[str]:
    requests_per_s = publish.events_per_s(group.count) * publish.peak_load / publish.batch / group.count
    most_per_s = rules.publishes_per_connection_per_s
    if most_per_s is not None and not over_http(publish.via, rules) and requests_per_s > most_per_s:
        instead = " or 'via: http'" if rules.publishes_over_http else ""
        yield (
            f"{where} makes {requests_per_s:g} requests/s on each connection, above the service's quota of "
            f"{most_per_s:g}/s; use more clients, a larger batch{instead}"
        )
    if publish.payload_bytes is not None and publish.payload_bytes < _STAMP_BYTES:
        yield (
            f"{where}.payload is {publish.payload_bytes}B, less than the stamp that every event carries; "
            f"events will be about {_STAMP_BYTES}B"
        )
    yield from _profile_warnings(f"{where}.profile", publish.profile, phases)


def _profile_warnings(where: str, profile: Points | Form, phases: Phases) -> Iterator[str]:
    measure = f"the measure phase ({format_duration(phases.measure_ns)})"
    if isinstance(profile, tuple):
        beyond = [point.at_ns for point in profile if point.at_ns > phases.measure_ns]
        if len(beyond) == 1:
            yield f"{where} has a point at {format_duration(beyond[0])}, after the end of {measure}"
        elif beyond:
            last = format_duration(beyond[-1])
            yield f"{where} has {len(beyond)} points after the end of {measure}, the last at {last}"
    elif isinstance(profile, LoadBursts):
        if profile.bursts.begin_ns >= phases.measure_ns:
            first = format_duration(profile.bursts.begin_ns)
            yield f"{where} has its first burst at {first}, after the end of {measure}"
    elif profile.length_ns is not None and profile.length_ns > phases.measure_ns:
        yield f"{where} lasts {format_duration(profile.length_ns)}, longer than {measure}"


def _heard(channel: str, clients: Groups, variables: Variables, rules: ProtocolRules) -> bool:
    """Return True if a subscription matches the published channel for some values of their variables.

    At most 2,000 combinations of values are tried. Either the channel or the subscription is varied, never both at
    once. A missed match causes only a needless warning. Channels whose names come from data count as matched.
    """
    if any(group.users for group in clients.values()):
        return True
    published = Template.parse(channel)
    if any(map(split, published.names)):
        return True
    first = next(iter(_renderings(published, variables)))
    for source in dict.fromkeys(source for group in clients.values() for source in group.subscribe):
        pattern = Template.parse(source)
        if any(map(split, pattern.names)):
            return True
        zero = next(iter(_renderings(pattern, variables)))
        if any(rules.matches(zero, each) for each in _renderings(published, variables)):
            return True
        if any(rules.matches(each, first) for each in _renderings(pattern, variables)):
            return True
    return False


def _renderings(template: Template, variables: Variables) -> Iterable[str]:
    names = tuple(dict.fromkeys(template.names))
    ranges = [range(variables[name].count) for name in names]
    if prod(map(len, ranges)) == 1:
        return [template.render(dict.fromkeys(names, 0))]
    combinations = islice(product(*ranges), _MATCHES_TRIED)
    return (template.render(dict(zip(names, values, strict=True))) for values in combinations)
