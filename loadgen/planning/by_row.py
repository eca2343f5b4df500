"""Replace a run's data by variables whose values are row numbers, so that the run can be planned without the rows."""

import msgspec

from loadgen.protocol.shares import pattern_of
from loadgen.resolve import ResolvedRun, Variable
from loadgen.resolve.group import Group
from loadgen.resolve.responding import of_request
from loadgen.resolve.run import source_of
from loadgen.scenario.template import Template

_MOST_ROWS = 1_000_000
#: Names of the variables that stand for a row of data: a client's own row, and a row that a publish request draws.
_OF_CLIENT, _OF_REQUEST = "row of {}", "drawn row of {}"


def by_row(run: ResolvedRun) -> ResolvedRun | None:
    """Return a copy of the run whose channels have the numbers of data rows in place of the rows' values.

    Each channel matches the same patterns as in ``run``. Return None if that cannot be guaranteed: a used column has
    the same value in several rows, its rows were not read, or a match depends on whether values of different columns or
    files are equal.
    """
    if not run.data:
        return run
    variables = dict(run.variables)
    for name in {name for group in run.groups for channel in group.channels for name in _columns(channel)}:
        source, _, column = name.partition(".")
        data = run.data[source]
        facts = data.columns.get(column)
        if facts is None or not facts.distinct or data.rows > _MOST_ROWS:
            return None
        variables[_OF_CLIENT.format(source)] = _variable(data.rows, drawn=data.assign == "random")
        variables[_OF_REQUEST.format(source)] = _variable(data.rows, drawn=data.assign != "by-client")
    subscribed = {channel for group in run.groups for channel in group.subscribe}
    published = {publishing.channel for publishing in run.publishing.values()}
    if any(_uncertain(run, pattern, channel) for pattern in subscribed for channel in published):
        return None
    return msgspec.structs.replace(
        run, variables=variables, groups=tuple(_renamed(group) for group in run.groups), data={}
    )


def _variable(count: int, drawn: bool) -> Variable:
    return Variable(count, "random" if drawn else "by-client")


def _columns(channel: str) -> list[str]:
    return [name for name in Template.parse(channel).names if source_of(name) is not None]


def _uncertain(run: ResolvedRun, pattern: str, channel: str) -> bool:
    """Return whether a match depends on comparing values of a column with literal text or another column."""
    patterns, channels = pattern_of(pattern).strip("/").split("/"), channel.strip("/").split("/")
    below = patterns[-1] == "*"
    if below:
        patterns.pop()
    if len(channels) <= len(patterns) if below else len(channels) != len(patterns):
        return False
    uncertain = False
    for mine, its in zip(patterns, channels, strict=False):
        if _columns(mine) or _columns(its):
            uncertain |= _kind(run, mine) != _kind(run, its)
        elif "{" not in mine + its and mine != its:
            return False
    return uncertain


def _kind(run: ResolvedRun, segment: str) -> str:
    """Return a channel segment with each variable of data replaced by the data's file and column."""
    template = Template.parse(segment)
    return template.render({name: _place(run, name) for name in template.names})


def _place(run: ResolvedRun, name: str) -> str:
    source, dot, column = name.partition(".")
    return f"{{{column} of {run.data[source].file}}}" if dot else f"{{{name}}}"


def _renamed(group: Group) -> Group:
    publish = group.publish
    if publish is not None:
        # Drop the payload, since the fan-out does not depend on it. Columns that only the payload uses then get no
        # variables.
        publish = msgspec.structs.replace(publish, channel=_with(publish.channel, _OF_REQUEST), payload=None)
    subscribe = tuple(_with(channel, _OF_CLIENT) for channel in group.subscribe)
    respond = group.respond
    if respond is not None:
        respond = msgspec.structs.replace(respond, channel=_with(respond.channel, _OF_CLIENT))
    # Drop the logins: a client receives the same deliveries with any login.
    return msgspec.structs.replace(group, subscribe=subscribe, publish=publish, respond=respond, logins=None)


def _with(channel: str, name_of: str) -> str:
    template = Template.parse(channel)
    names = {
        name: "{"
        + (name if (source := source_of(name)) is None or of_request(name) else name_of.format(source))
        + "}"
        for name in template.names
    }
    return template.render(names)
