"""The services to compare, as the command line names them."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.config.problems import ScenarioError
from loadgen.config.text import shown
from loadgen.targets import protocol_of

#: The names of services that this machine can serve.
LOCAL: Final = ("appsync-events", "appsync-graphql", "api-gateway", "mqtt")
#: Options of `loadgen run` that the comparison sets itself: they decide what is run and where its record is written.
_OWN: Final = ("--target", "-t", "--results", "--output", "--format", "--json", "--seed", "--web", "--live")
_LABEL: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,39})=(?=\S)")


class ChoiceError(ValueError):
    """The text that names a service is invalid; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A service to run the scenario on."""

    label: str
    """The service's name in the report and the name of its folder; unique among the compared services."""
    local: str | None
    """The name of the service to start on this machine, one of `LOCAL`, or None if `url` is given."""
    url: str | None
    """The target's URL, or None for a service on this machine."""
    query: str
    """For a service on this machine: the query to append to its URL, such as `qos=0`."""
    options: tuple[str, ...]
    """Further options of `loadgen run`, such as the login."""


def wanted(said: Sequence[str]) -> list[Wanted]:
    """Return the services that a command line names, each as `[LABEL=]URL` or `[LABEL=]NAME` with options of `loadgen
    run`.

    Raises:
        ChoiceError: a service cannot be read, or two have the same label.
    """
    found: list[Wanted] = []
    for text in said:
        each = _wanted(text, {one.label for one in found})
        if any(one.label == each.label for one in found):
            raise ChoiceError(
                f"two services have the label {each.label}: give one another, as in LABEL={text}"
            )
        found.append(each)
    return found


def _wanted(text: str, taken: set[str]) -> Wanted:
    try:
        first, *options = shlex.split(text)
    except ValueError:
        raise ChoiceError(
            f"--service {shown(text)} is not [LABEL=]URL or [LABEL=]NAME, followed by options of `loadgen run`"
        ) from None
    for option in options:
        name = option.partition("=")[0]
        if name in _OWN:
            raise ChoiceError(
                f"--service {shown(text)} has {name}, which the comparison sets itself: leave it out"
            )
    labelled = _LABEL.match(first)
    label = None if labelled is None else labelled[1]
    place = first if labelled is None else first[labelled.end() :]
    if "://" in place:
        return Wanted(label or _free(_name_of(place), taken), None, place, "", tuple(options))
    name, _, query = place.partition("?")
    if name not in LOCAL:
        raise ChoiceError(
            f"--service {shown(text)} names no service: give a URL, or one that can run on this machine:"
            f" {', '.join(LOCAL)}"
        )
    return Wanted(label or _free(name, taken), name, None, query, tuple(options))


def _name_of(url: str) -> str:
    try:
        name = protocol_of(url).name
    except ScenarioError as error:
        raise ChoiceError(str(error)) from None
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:36] or "service"


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
