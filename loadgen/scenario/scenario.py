"""The whole scenario: validated, cross-checked, and written back in the YAML's own terms."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from loadgen.config.base import Part
from loadgen.config.messages import problems_in
from loadgen.config.problems import Places, Problem, ScenarioError
from loadgen.config.text import holds_key
from loadgen.scenario.checks import check, warnings
from loadgen.scenario.gates import GateText
from loadgen.scenario.models import Group, Key, Name, Phases, Target, Variable
from loadgen.targets import protocol_of


class Scenario(Part):
    """A load-test scenario, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    name: Name = "scenario"
    """Names the run's folder; default is the file's name without its ending."""
    description: str = Field(default="", max_length=4000)
    """What the scenario stands for, in a sentence or a few."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    """Start of all random draws: one seed, one run."""
    target: Target | None = None
    """The service under test; default is the embedded server."""
    variables: Mapping[Key, Variable] = Field(default_factory=dict)
    """What stands for {name} in channels."""
    clients: Mapping[Key, Group] = Field(min_length=1)
    """Groups of clients by name; at least one must subscribe and one publish."""
    phases: Phases = Phases()
    """How the run goes."""
    gates: tuple[GateText, ...] = Field(default=(), strict=False)
    """What a run must show to pass, such as delivery.latency.p99 < 150ms."""

    @model_validator(mode="after")
    def _as_long_as_its_curves(self) -> Self:
        """Let the measure phase last as long as the longest load curve, where nobody has said how long."""
        if "measure_ns" not in self.phases.model_fields_set:
            publishes = [group.publish for group in self.clients.values() if group.publish is not None]
            lengths = [p.curve_length_ns for p in publishes if p.curve_length_ns is not None]
            if lengths:
                # The model is frozen; pydantic's own way around that while it is being made.
                object.__setattr__(
                    self, "phases", self.phases.model_copy(update={"measure_ns": max(lengths)})
                )
        return self

    @classmethod
    def from_resolved(cls, data: Mapping[str, Any], target: str | None = None) -> "Scenario":
        """Return the scenario that ``resolved`` has written, for the target of that URL in place of its own.

        Raises:
            ScenarioError: it is none.
        """
        return validated(data, Places("scenario"), target)

    def resolved(self) -> dict[str, Any]:
        """Return the scenario with its defaults filled in, as plain JSON values in the YAML's terms.

        The order of groups decides the numbers of clients: keep it when writing (no sorting of keys).
        """
        dumped: dict[str, Any] = _pruned(self.model_dump(mode="json", by_alias=True))
        return dumped

    def warnings(self, target: str | None = None) -> list[str]:
        """Return what is allowed but beyond the service's default quotas or probably not meant.

        ``target`` is the URL of another target than the scenario's own.
        """
        url = target or self._url
        rules = protocol_of(url).rules
        return list(warnings(self.variables, self.clients, self.phases, rules, embedded=url is None))

    @property
    def _url(self) -> str | None:
        return None if self.target is None else self.target.url


def validated(data: object, places: Places, target: str | None = None) -> Scenario:
    """Return the scenario that plain data describe, for the target of that URL in place of their own.

    What the parts must be to each other is checked once the parts are sound, or else follow-up errors would hide
    the cause; mistakes outside ``variables`` and ``clients`` do not keep those from being checked.

    Raises:
        ScenarioError: names everything that is wrong.
    """
    problems = list(_keys_and_gaps(data, ()))
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        stated = {problem.path for problem in problems}
        problems += [each for each in problems_in(error, data, Scenario) if each.path not in stated]
        if isinstance(data, Mapping) and all(
            problem.path and problem.path[0] in {"version", "name", "description", "seed", "phases", "gates"}
            for problem in problems
        ):
            kept = {key: data[key] for key in ("variables", "clients", "target") if key in data}
            problems += _check(Scenario.model_validate({"version": 1, **kept}), target)
    else:
        problems += _check(scenario, target)
        if not problems:
            return scenario
    raise ScenarioError(places.sentences(problems))


def _check(scenario: Scenario, target: str | None) -> Iterator[Problem]:
    """Check a scenario of sound parts by the rules of its target's protocol."""
    rules = protocol_of(target or scenario._url).rules
    return check(scenario.variables, scenario.clients, scenario.target, scenario.phases, rules)


def _keys_and_gaps(data: object, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Yield what holds for every value: no API key is written down, and nothing is left empty."""
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
    elif data is None and path:
        yield Problem(path, "has no value; give it one or remove it")


def _pruned(value: Any) -> Any:
    """Leave out what is not set; an empty list, text or mapping is what its absence means."""
    if isinstance(value, dict):
        kept = {key: _pruned(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each not in (None, "", [], {})}
    return [_pruned(each) for each in value] if isinstance(value, list) else value
