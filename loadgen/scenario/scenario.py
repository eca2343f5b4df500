"""The whole scenario: validate it, check its parts against each other, and write it back in its file's form."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from loadgen.config.base import Part
from loadgen.config.messages import problems_in
from loadgen.config.problems import Places, Problem, ScenarioError
from loadgen.config.text import holds_key
from loadgen.payloads.plans import Stamps
from loadgen.scenario.data import Data
from loadgen.scenario.gates import GateText
from loadgen.scenario.models import Group, Key, Name, Phases, Target, Tls, Variable
from loadgen.scenario.payload import StampPlace, stamps_of

#: Keys that the checks of other parts do not depend on, so an error in one of them causes no further errors.
_SIMPLE_KEYS = frozenset({"version", "name", "description", "seed", "phases", "gates", "integrity"})


class Scenario(Part):
    """A load-test scenario, version 1."""

    version: Literal[1]
    """The version of this format: 1."""
    name: Name = "scenario"
    """The name of the scenario, which becomes part of the run folder's name. Default is the file's name without its
    extension."""
    description: str = Field(default="", max_length=4000)
    """A description of the scenario in one or a few sentences."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """The seed of all random draws. The same seed gives the same draws."""
    target: Target | None = None
    """The service under test; default is the embedded server."""
    tls: Tls | None = None
    """Settings of connections over TLS; default is a full handshake for each connection."""
    variables: Mapping[Key, Variable] = Field(default_factory=dict)
    """The variables that replace {name} in channels, by name."""
    data: Mapping[Key, Data] = Field(default_factory=dict)
    """Files of rows, by name. Their columns replace {name.column} in channels, payloads and logins."""
    clients: Mapping[Key, Group] = Field(min_length=1)
    """The groups of clients, by name. At least one group must subscribe, and at least one must publish."""
    stamp: StampPlace | None = None
    """The place of the stamp, which identifies each event; default is {member: _lg}. Change it for a service that drops
    or forbids unknown members."""
    integrity: bool = False
    """True to put a checksum of each event into its stamp, so that events that arrive altered are counted. This costs
    CPU time for each event and each delivery."""
    phases: Phases = Phases()
    """The lengths and conditions of the run's phases."""
    gates: tuple[GateText, ...] = Field(default=(), strict=False)
    """The conditions that a run must meet to pass, such as delivery.latency.p99 < 150ms."""

    @model_validator(mode="after")
    def _as_long_as_its_curves(self) -> Self:
        """Make the measure phase as long as the longest load curve if the scenario gives no length."""
        if "measure_ns" not in self.phases.model_fields_set:
            publishes = [group.publish for group in self.clients.values() if group.publish is not None]
            lengths = [p.curve_length_ns for p in publishes if p.curve_length_ns is not None]
            if lengths:
                # The model is frozen, so an assignment would raise an error. pydantic itself sets the fields of frozen
                # models by this call.
                object.__setattr__(
                    self, "phases", self.phases.model_copy(update={"measure_ns": max(lengths)})
                )
        return self

    @property
    def stamps(self) -> Stamps:
        """The place of the stamps in events, and whether stamps contain checksums."""
        return stamps_of(self.stamp, self.integrity)

    def resolved(self) -> dict[str, Any]:
        """Return the scenario with its defaults filled in, as JSON values with the keys and units of a scenario file.

        The order of the groups determines the numbers of the clients: do not sort the keys when writing.
        """
        dumped: dict[str, Any] = _pruned(self.model_dump(mode="json", by_alias=True))
        return dumped


def validated(data: object, places: Places, check: Callable[[Scenario], Iterable[Problem]]) -> Scenario:
    """Return the scenario that plain data describe.

    ``check`` yields problems that concern several parts together, by the rules of the target's protocol. It is called
    only if each part is valid by itself: otherwise its errors would hide the cause. Mistakes in simple keys, such as
    ``name`` or ``phases``, do not prevent the call, since it does not depend on them.

    Raises:
        ScenarioError: the data are invalid; names every problem.
    """
    problems = list(_keys_and_gaps(data, ()))
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        stated = {problem.path for problem in problems}
        problems += [each for each in problems_in(error, data, Scenario) if each.path not in stated]
        if isinstance(data, Mapping) and all(
            problem.path and problem.path[0] in _SIMPLE_KEYS for problem in problems
        ):
            keys = ("variables", "data", "clients", "target", "stamp")
            kept = {key: data[key] for key in keys if key in data}
            problems += check(Scenario.model_validate({"version": 1, **kept}))
    else:
        problems += check(scenario)
        if not problems:
            return scenario
    raise ScenarioError(places.sentences(problems))


def _keys_and_gaps(data: object, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Yield a problem for each value that looks like an API key, and for each empty value."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _keys_and_gaps(value, (*path, key))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from _keys_and_gaps(value, (*path, number))
    elif isinstance(data, str) and holds_key(data):
        yield Problem(
            path,
            "holds what looks like an API key; put the key into an environment variable "
            "and that variable's name into target.api_key_env",
        )
    elif data is None and path and not _in_template(path):
        yield Problem(path, "has no value; give it one or remove it")


def _in_template(path: tuple[str | int, ...]) -> bool:
    """Return whether a path leads into a payload's template, where null and empty values are content."""
    return len(path) > 4 and path[0] == "clients" and path[2:5] == ("publish", "payload", "json")


def _pruned(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Return the data without unset values; an empty list, text or mapping means the same as an absent one."""
    if _in_template(path):
        return value
    if isinstance(value, dict):
        kept = {key: _pruned(each, (*path, key)) for key, each in value.items()}
        return {
            key: each
            for key, each in kept.items()
            if each not in (None, "", [], {}) or (each is not None and _in_template((*path, key)))
        }
    return [_pruned(each, (*path, 0)) for each in value] if isinstance(value, list) else value
