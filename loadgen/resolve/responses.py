"""Check the `respond` sections of a scenario: that replies can be made, and that no client answers itself.

A group with `respond` publishes replies to the events that it receives. These events are its requests.
"""

from collections.abc import Callable, Iterator, Mapping

from loadgen.config.problems import Path, Problem
from loadgen.config.units import format_duration
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.responding import REQUEST, is_whole, of_request, without_request
from loadgen.scenario.data import Data, split
from loadgen.scenario.models import Group, Phases, Variable
from loadgen.scenario.responding import Respond
from loadgen.scenario.template import Template, TemplateError

_CHANNEL = "request.channel."


def templates(
    name: str, respond: Respond, rules: ProtocolRules
) -> Iterator[tuple[Path, str, Callable[[str], object]]]:
    """Yield (place in the scenario, template, function that checks a channel) for a group's reply channel.

    A template that consists of a single value of the request is left out: the channel is known only when a request
    arrives.
    """
    source = respond.publish.channel
    if not is_whole(source):
        path = ("clients", name, "respond", "publish", "channel")
        yield path, without_request(source), rules.validate_publish


def check(
    clients: Mapping[str, Group],
    variables: Mapping[str, Variable],
    data: Mapping[str, Data],
    rules: ProtocolRules,
) -> Iterator[Problem]:
    """Yield the problems in the groups' `respond` sections."""
    responding = {name: group.respond for name, group in clients.items() if group.respond is not None}
    if responding and REQUEST in data:
        yield Problem(
            ("data", REQUEST),
            "has the name under which replies use their request; give the data another name",
        )
    for name, respond in responding.items():
        path = ("clients", name, "respond", "publish", "channel")
        try:
            template = Template.parse(respond.publish.channel)
        except TemplateError as error:
            if is_whole(respond.publish.channel):
                yield Problem(path, str(error))
            continue
        for each in dict.fromkeys(filter(of_request, template.names)):
            why = _wrong(each, clients, variables)
            if why is not None:
                yield Problem(path, why)
        if not any(map(of_request, template.names)) and _answers_itself(respond, rules):
            yield Problem(
                path,
                f"is among the channels that are answered ({respond.to}): each reply would cause the next one;"
                " reply on another channel",
            )


def _wrong(name: str, clients: Mapping[str, Group], variables: Mapping[str, Variable]) -> str | None:
    """Return why a reply cannot use the value `name` of the request, or None if it can."""
    member = name.removeprefix(f"{REQUEST}.")
    if name == REQUEST or not member:
        return f"has {{{name}}} without a member; write {{request.client}} or {{request.NAME}}"
    if not name.startswith(_CHANNEL):
        return None
    number = name.removeprefix(_CHANNEL)
    if not number.isdecimal() or not 1 <= int(number) <= 100:
        return f"has {{{name}}}; segments are counted from 1, as in {{request.channel.2}}"
    for asking, group in clients.items():
        if group.publish is None:
            continue
        try:
            channel = Template.parse(group.publish.channel)
        except TemplateError:
            continue
        if any(map(split, channel.names)):
            return (
                f"has {{{name}}}, and clients.{asking}.publish.channel takes a row of data for each request, which"
                " the service does not tell: let the request say it, and use {request.NAME}"
            )
        drawn = [each for each in channel.names if each in variables and variables[each].assign == "random"]
        if drawn:
            return (
                f"has {{{name}}}, and clients.{asking}.publish.channel draws {{{drawn[0]}}} for each request, which"
                " the service does not tell: assign it by-client, or let the request say it and use {request.NAME}"
            )
    return None


def _answers_itself(respond: Respond, rules: ProtocolRules) -> bool:
    try:
        pattern, channel = Template.parse(respond.to), Template.parse(respond.publish.channel)
    except TemplateError:
        return False
    zero = dict.fromkeys((*pattern.names, *channel.names), 0)
    return rules.matches(rules.normalise(pattern.render(zero)), rules.normalise(channel.render(zero)))


def warnings(clients: Mapping[str, Group], phases: Phases) -> Iterator[str]:
    """Yield a sentence for each `respond` section that is probably a mistake."""
    for name, group in clients.items():
        if group.respond is None:
            continue
        length_ns = (group.respond.publish.count - 1) * group.respond.publish.spacing_ns
        if length_ns > phases.drain_ns:
            yield (
                f"clients.{name}.respond makes replies for {format_duration(length_ns)} after a request, longer than"
                f" the drain ({format_duration(phases.drain_ns)}): the replies to the last requests are cut off"
            )
