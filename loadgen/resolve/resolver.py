"""Resolves a scenario and its target into a run."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from loadgen.config.problems import Places, ScenarioError
from loadgen.data.tables import Tables
from loadgen.pacing import Pace, Point
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import group as groups
from loadgen.resolve import publishing
from loadgen.resolve import run as resolved
from loadgen.resolve.checks import check, protocol_for, warnings
from loadgen.resolve.loading import load_with_data, with_data
from loadgen.resolve.logins import logins_of
from loadgen.resolve.overlap import check_overlaps
from loadgen.resolve.payloads import Sized, sized
from loadgen.resolve.responding import Delay, Responding, is_whole
from loadgen.resolve.run import ResolvedRun
from loadgen.resolve.transport import over_http
from loadgen.scenario.behaviours import Reconnect
from loadgen.scenario.data import Data
from loadgen.scenario.gates import LongGate
from loadgen.scenario.loading import written
from loadgen.scenario.models import DEFAULT_IN_FLIGHT, Group, Phases, Publish, Settle, Variable
from loadgen.scenario.overrides import overrides_of
from loadgen.scenario.responding import Respond, same
from loadgen.scenario.scenario import Scenario


def run_of(
    name_or_path: str, overrides: Iterable[str] = (), target: str | None = None
) -> tuple[ResolvedRun, Tables]:
    """Load a scenario, resolve it and check every client's subscriptions; return the run and the rows of its data.

    ``overrides`` have the form of `--set`. ``target`` is a URL that replaces the scenario's own target.

    Raises:
        ScenarioError: the scenario cannot be read or run; it has a line for each problem.
    """
    scenario, tables = load_with_data(name_or_path, overrides_of(overrides), target=target)
    run = resolve(scenario, target, tables)
    check_overlaps(run, protocol_for(scenario, target).rules, tables)
    return run, tables


def planned(
    name_or_path: str, overrides: Iterable[str] = (), target: str | None = None
) -> tuple[Scenario, ResolvedRun]:
    """Load and resolve a scenario for an estimate, without the checks of each client that `run_of` makes.

    Raises:
        ScenarioError: the scenario cannot be read; it has a line for each problem.
    """
    scenario, tables = load_with_data(name_or_path, overrides_of(overrides), target=target)
    with tables:
        return scenario, resolve(scenario, target, tables)


def run_of_document(
    data: dict[str, Any],
    places: Places,
    folder: Path,
    overrides: Iterable[str] = (),
    target: str | None = None,
) -> tuple[ResolvedRun, Tables]:
    """Resolve a scenario as `run_of` does, but from plain data; the scenario's files are in ``folder``."""
    scenario, tables = with_data(
        written(data, places, folder, overrides_of(overrides), partial(check, target=target)), target
    )
    run = resolve(scenario, target, tables)
    check_overlaps(run, protocol_for(scenario, target).rules, tables)
    return run, tables


def resolve(scenario: Scenario, target: str | None = None, tables: Tables | None = None) -> ResolvedRun:
    """Resolve a scenario; ``target`` is a URL that replaces the scenario's own target.

    The scenario must have been loaded, and thereby checked, for the same target. Without the ``tables`` of its data,
    the fan-out of channels that depend on them stays unknown.
    """
    rules = protocol_for(scenario, target).rules
    said = scenario.target
    login = None if said is None or said.login is None else said.login.as_data()
    return ResolvedRun(
        name=scenario.name,
        seed=scenario.seed,
        variables={name: _variable(variable) for name, variable in scenario.variables.items()},
        data={name: _data(name, data, tables) for name, data in scenario.data.items()},
        groups=tuple(_groups(scenario, rules, tables)),
        phases=_phases(scenario.phases),
        gates=tuple(
            resolved.GateText(gate.check, gate.over_ns, gate.abort_early)
            if isinstance(gate, LongGate)
            else resolved.GateText(gate)
            for gate in scenario.gates
        ),
        event_bytes=rules.event_bytes,
        stamps=scenario.stamps,
        tls_resumption=scenario.tls is not None and scenario.tls.resumption,
        target=None if said is None else resolved.NamedTarget(said.url, login),
        warnings=tuple(warnings(scenario, target)),
        document=scenario.resolved(),
    )


def _groups(scenario: Scenario, rules: ProtocolRules, tables: Tables | None) -> Iterator[groups.Group]:
    first = first_subscription = 0
    for name, group in scenario.clients.items():
        found = groups.Group(
            name=name,
            first=first,
            count=group.count,
            ramp_per_s=float(group.ramp_per_s),
            first_subscription=first_subscription,
            subscribe=tuple(map(rules.normalise, group.subscribe)),
            publish=None
            if group.publish is None
            else _publishing(group, group.publish, scenario.phases, rules, sized(scenario, name, tables)),
            respond=None if group.respond is None else _responding(group, group.respond, rules),
            users=group.users,
            stages=tuple(
                groups.Stage(stage.at_ns, stage.users, float(stage.per_s)) for stage in group.stages
            ),
            namespaces=() if group.users is None else group.namespaces or ("default",),
            reconnect=_reconnecting(group),
            drops=tuple(
                groups.Drop(drop.at_ns, drop.share_percent, drop.over_ns, drop.close == "frame")
                for drop in group.drops
            ),
            churn=None
            if (churn := group.churn) is None
            else groups.Churn(
                churn.away_ns, churn.changes_per_s, churn.lifetime_ns, churn.spread == "constant"
            ),
            slow=None
            if group.slow is None
            else groups.Slow(group.slow.share_percent, group.slow.read_bytes_per_s),
            logins=logins_of(group, rules),
        )
        yield found
        first += found.count
        first_subscription += found.subscriptions


def _publishing(
    group: Group, publish: Publish, phases: Phases, rules: ProtocolRules, sizes: Sized
) -> publishing.Publishing:
    http = over_http(publish.via, rules)
    events_per_s = publish.events_per_s(group.count)
    return publishing.Publishing(
        over_http=http,
        channel=rules.normalise(publish.channel),
        batch=publish.batch,
        payload_bytes=sizes.mean_bytes,
        payload=sizes.payload,
        sizes=sizes.shares,
        largest_bytes=sizes.largest_bytes,
        example=sizes.example,
        in_flight=(publish.in_flight or DEFAULT_IN_FLIGHT) if http else None,
        events_per_s=events_per_s,
        each_client=publish.rate_per_s is None,
        pace=Pace(
            requests_per_s=events_per_s / publish.batch,
            arrival=publish.arrival_kind,
            burst=publish.burst,
            curve=tuple(
                Point(phases.warmup_ns + point.at_ns, point.load)
                for point in publish.curve(phases.measure_ns)
            ),
        ),
    )


def _responding(group: Group, respond: Respond, rules: ProtocolRules) -> Responding:
    reply, after = respond.publish, respond.after
    if isinstance(after, int):
        delay = Delay("fixed", float(after))
    elif after.uniform is not None:
        delay = Delay("uniform", float(after.uniform.from_ns), float(after.uniform.to_ns))
    elif after.exponential is not None:
        delay = Delay("exponential", float(after.exponential.mean_ns))
    else:
        assert after.lognormal is not None
        delay = Delay("lognormal", float(after.lognormal.median_ns), after.lognormal.sigma)
    return Responding(
        entry=next(entry for entry, channel in enumerate(group.subscribe) if same(channel, respond.to)),
        channel=reply.channel if is_whole(reply.channel) else rules.normalise(reply.channel),
        over_http=over_http(reply.via, rules),
        payload_bytes=reply.payload_bytes,
        count=reply.count,
        every_ns=reply.spacing_ns,
        after=delay,
    )


def _reconnecting(group: Group) -> groups.Reconnecting:
    policy = group.reconnect if isinstance(group.reconnect, Reconnect) else Reconnect()
    return groups.Reconnecting(
        policy.first_ns, policy.most_ns, policy.jitter == "full", group.reconnect != "never"
    )


def _phases(phases: Phases) -> resolved.Phases:
    return resolved.Phases(
        settle_ns=phases.ready.settle_ns if isinstance(phases.ready, Settle) else None,
        ready_timeout_ns=phases.ready_timeout_ns,
        warmup_ns=phases.warmup_ns,
        measure_ns=phases.measure_ns,
        drain_ns=phases.drain_ns,
        echo_ns=phases.echo_ns,
    )


def _variable(variable: Variable) -> resolved.Variable:
    return resolved.Variable(variable.count, variable.assign, variable.popularity, variable.exponent)


def _data(name: str, data: Data, tables: Tables | None) -> resolved.DataSet:
    if data.first is None:
        raise ScenarioError([f"scenario: data.{name} was not read, so the number of its rows is not known"])
    table = None if tables is None else tables.get(name)
    columns = (
        {}
        if table is None
        else {
            column: resolved.DataColumn(table.longest(column), table.distinct(column))
            for column in table.columns
        }
    )
    return resolved.DataSet(data.file, data.first, data.assign, columns)
