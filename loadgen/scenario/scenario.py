"""The whole scenario: validate it, check its parts against each other, and write it back in the YAML's terms."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from loadgen.config.base import Part
from loadgen.config.messages import problems_in
from loadgen.config.problems import Places, Problem, ScenarioError
from loadgen.config.text import holds_key
from loadgen.payloads.plans import Stamps
from loadgen.protocol.rules import ProtocolRules
from loadgen.scenario.checks import check, warnings
from loadgen.scenario.data import Data
from loadgen.scenario.gates import GateText, LongGate
from loadgen.scenario.models import Group, Key, Name, Phases, Target, Variable
from loadgen.scenario.payload import StampPlace, stamps_of
from loadgen.targets import protocol_of

#: Keys whose mistakes cause no others.
_SIMPLE_KEYS = frozenset({"version", "name", "description", "seed", "phases", "gates", "integrity"})


class Scenario(Part):
    """A load-test scenario, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    name: Name = "scenario"
    """The scenario's name, used in the name of the run folder; default is the file's name without its extension."""
    description: str = Field(default="", max_length=4000)
    """A description of the scenario in one or a few sentences."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """The seed of all random draws: the same seed gives the same draws."""
    target: Target | None = None
    """The service under test; default is the embedded server."""
    variables: Mapping[Key, Variable] = Field(default_factory=dict)
    """The variables that replace {name} in channels."""
    data: Mapping[Key, Data] = Field(default_factory=dict)
    """Files of rows, whose columns replace {name.column} in channels, payloads and logins."""
    clients: Mapping[Key, Group] = Field(min_length=1)
    """The groups of clients by name; at least one must subscribe and one publish."""
    stamp: StampPlace | None = None
    """The place of the stamp by which each event is recognised; default is {member: _lg}."""
    integrity: bool = False
    """True to let a checksum of each event travel in its stamp, so that events that arrive altered are counted; costs
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
                # The model is frozen; pydantic itself sets fields in this way while it creates a model.
                object.__setattr__(
                    self, "phases", self.phases.model_copy(update={"measure_ns": max(lengths)})
                )
        return self

    @classmethod
    def from_resolved(cls, data: Mapping[str, Any], target: str | None = None) -> "Scenario":
        """Return the scenario from the data that ``resolved`` has written; ``target`` is as in `validated`.

        Raises:
            ScenarioError: the data are no valid scenario.
        """
        return validated(data, Places("scenario"), target)

    def resolved(self) -> dict[str, Any]:
        """Return the scenario with its defaults filled in, as plain JSON values in the YAML's terms.

        The order of the groups determines the numbers of the clients: do not sort the keys when writing.
        """
        dumped: dict[str, Any] = _pruned(self.model_dump(mode="json", by_alias=True))
        return dumped

    def warnings(self, target: str | None = None) -> list[str]:
        """Return a sentence for each setting that is above the service's default quotas or probably a mistake.

        ``target`` is the URL of a target that replaces the scenario's own.
        """
        url = target or self._url
        rules = protocol_of(url).rules
        return list(warnings(self.variables, self.clients, self.phases, rules, embedded=url is None))

    def rules(self, target: str | None = None) -> ProtocolRules:
        """Return the rules of the target's protocol; ``target`` is a URL that replaces the scenario's own target."""
        return protocol_of(target or self._url).rules

    @property
    def stamps(self) -> Stamps:
        """Where stamps go, and whether they hold checksums."""
        return stamps_of(self.stamp, self.integrity)

    @property
    def _url(self) -> str | None:
        return None if self.target is None else self.target.url


def validated(data: object, places: Places, target: str | None = None) -> Scenario:
    """Return the scenario that plain data describe.

    ``target`` is the URL of a target that replaces the data's own: the rules of its protocol apply.

    The parts are checked against each other only if each of them is valid, since follow-up errors would hide the cause.
    Mistakes in simple keys, such as ``name`` or ``phases``, do not prevent this check of ``variables`` and ``clients``.

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
            kept = {
                key: data[key] for key in ("variables", "data", "clients", "target", "stamp") if key in data
            }
            problems += _check(Scenario.model_validate({"version": 1, **kept}), target)
    else:
        problems += _check(scenario, target)
        if not problems:
            return scenario
    raise ScenarioError(places.sentences(problems))


def _check(scenario: Scenario, target: str | None) -> Iterator[Problem]:
    """Yield contradictions between the parts of a scenario, by the rules of its target's protocol."""
    rules = protocol_of(target or scenario._url).rules
    yield from _unchecked(scenario)
    yield from check(
        scenario.variables,
        scenario.data,
        scenario.clients,
        scenario.target,
        scenario.phases,
        rules,
        scenario.stamps,
    )


def _unchecked(scenario: Scenario) -> Iterator[Problem]:
    """Yield the gates on altered deliveries if no content is checked."""
    for number, gate in enumerate(scenario.gates):
        text = gate.check if isinstance(gate, LongGate) else gate
        if "delivery.altered" in text and not scenario.integrity:
            yield Problem(("gates", number), "asks for altered deliveries, which needs 'integrity: true'")


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
