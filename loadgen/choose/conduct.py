"""Run a scenario on each service in turn, and save a record of the runs."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from analysis.choose import record
from analysis.choose.record import Choice, Made, Tried
from loadgen import subprocesses
from loadgen.choose import local
from loadgen.choose.costs import costs, priced_as
from loadgen.choose.limits import limits
from loadgen.choose.services import ChoiceError, Wanted
from loadgen.config.problems import ScenarioError
from loadgen.exits import ExitCode
from loadgen.planning.services.load import Month
from loadgen.protocol.base import TargetProtocol
from loadgen.resolve.resolver import planned
from loadgen.targets import protocol_of

#: Exit codes of runs with a readable record. For other codes only the text of the failure is kept.
_RECORDED: Final = (ExitCode.PASSED, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE, ExitCode.TARGET)
#: Maximum number of characters of a failed run's last output that the record keeps.
_WORDS_MAX: Final = 1000
#: Services that `loadgen choose` can run on this machine, each with a URL whose protocol's rules the scenario is
#: checked by. None stands for the embedded server.
_LIKE: Final = {
    "appsync-events": None,
    "appsync-graphql": "graphql+http://127.0.0.1:1/graphql",
    "api-gateway": "apigw+ws://127.0.0.1:1/production",
    "mqtt": "mqtt://127.0.0.1:1",
}


@dataclass
class Comparison:
    """The runs of one scenario on several services."""

    scenario: str
    overrides: tuple[str, ...]
    folder: Path
    month: Month
    month_said: str
    prices: tuple[Path, ...] = ()
    created_ns: int = field(default_factory=time.time_ns)
    _tried: dict[str, Tried] = field(default_factory=dict)

    def prepare(self, services: Sequence[Wanted]) -> None:
        """Check the scenario by each service's rules, and compute its costs at each service; nothing is run.

        Raises:
            ScenarioError: the scenario can run on none of the services; the message gives the reasons.
        """
        for service in services:
            self._tried[service.label] = self._prepared(service)
        problems = [tried.problem for tried in self._tried.values() if tried.problem is not None]
        if len(problems) == len(services):
            raise ScenarioError(list(dict.fromkeys(problems)))
        self.save()

    def run(self, services: Sequence[Wanted], repeats: int, say: Callable[[str], None]) -> None:
        """Run the scenario on all services in turn, ``repeats`` times.

        Every second turn is in reverse order, so that drift of the machine affects all services alike.

        Raises:
            KeyboardInterrupt: the user interrupted; the runs so far are in the record.
        """
        for turn in range(repeats):
            for service in services if turn % 2 == 0 else reversed(services):
                if self._tried[service.label].problem is None:
                    say(f"{service.label}, run {turn + 1} of {repeats}")
                    self._make(service, turn + 1, say)

    def save(self) -> None:
        """Write the record as it is now.

        Raises:
            OSError: the record cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        record.write(
            self.folder,
            Choice(
                scenario=self.scenario,
                created_ns=self.created_ns,
                services=tuple(self._tried.values()),
                month=self.month_said,
            ),
        )

    def _prepared(self, service: Wanted) -> Tried:
        like = service.url
        if service.local is not None and (local_url := _LIKE[service.local]) is not None:
            like = local.with_query(local_url, service.query)
        protocol = protocol_of(like)
        stands_for = None if service.local is None else local.note(service.local)
        tried = Tried(
            label=service.label,
            title=protocol.title,
            command=self._again(service, protocol),
            stands_for=stands_for,
        )
        if service.local is not None and (missing := local.missing(service.local)) is not None:
            return _with(tried, problem=missing)
        try:
            _, run = planned(self.scenario, self.overrides + _sets(service.options), like)
        except ScenarioError as error:
            return _with(tried, problem="; ".join(error.problems))
        name, unpriced = priced_as(protocol.name, like)
        found = () if name is None else costs(name, run, self.month, self.prices)
        return _with(tried, limits=limits(protocol, run), costs=found, unpriced=unpriced)

    def _make(self, service: Wanted, number: int, say: Callable[[str], None]) -> None:
        place = self.folder / service.label / str(number)
        try:
            with local.serving(service) as address:
                code = self._run(service, address, place)
        except ChoiceError as error:
            self._add(service, problem=str(error))
            return
        if code in _RECORDED and (place / "summary.json").exists():
            self._add(service, made=Made(f"{service.label}/{number}", code))
        else:
            said = subprocesses.last_words(_log(place))[:_WORDS_MAX] or f"exit code {code}"
            say(f"{service.label}: {said}")
            self._add(service, problem=said)

    def _run(self, service: Wanted, address: local.Address, place: Path) -> int:
        place.parent.mkdir(parents=True, exist_ok=True)
        command = subprocesses.command(
            "loadgen", *self._arguments(service, address)[1:], "--output", str(place.resolve())
        )
        environment = {**subprocesses.environment(), **address.environment}
        code, interrupted = subprocesses.logged(command, environment, _log(place))
        if interrupted:
            if (place / "summary.json").exists():
                self._add(service, made=Made(f"{service.label}/{place.name}", code))
            raise KeyboardInterrupt
        return code

    def _arguments(self, service: Wanted, address: local.Address) -> list[str]:
        """Return the command line of a run, without the option for its folder."""
        sets = [part for item in self.overrides for part in ("--set", item)]
        return ["loadgen", "run", self.scenario, *sets, *address.options, *service.options]

    def _again(self, service: Wanted, protocol: TargetProtocol) -> str:
        """Return a command to type that runs the scenario on one service again, without secrets."""
        if service.local is None:
            return shlex.join(
                self._arguments(service, local.Address(("--target", _shown(service, protocol))))
            )
        # The service runs on a local server, which `loadgen choose` can start and `loadgen run` cannot.
        sets = [part for item in self.overrides for part in ("--set", item)]
        name = f"{service.local}?{service.query}" if service.query else service.local
        said = shlex.join([name, *service.options]) if service.options else name
        return shlex.join(["loadgen", "choose", self.scenario, *sets, "--service", said])

    def _add(self, service: Wanted, *, made: Made | None = None, problem: str | None = None) -> None:
        tried = self._tried[service.label]
        if made is not None:
            tried = _with(tried, runs=(*tried.runs, made))
        if problem is not None:
            tried = _with(tried, problem=problem)
        self._tried[service.label] = tried
        self.save()


def _shown(service: Wanted, protocol: TargetProtocol) -> str:
    """Return the target's URL for display, without secrets."""
    if service.url is None:
        return "…"
    try:
        return protocol.endpoints(service.url).describe()["url"] or "…"
    except ValueError:
        return "…"


def _with(tried: Tried, **more: object) -> Tried:
    return msgspec.structs.replace(tried, **more)


def _sets(options: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides among the options of a service: `--set KEY=VALUE` or `--set=KEY=VALUE`."""
    found = [value for name, value in pairwise(options) if name == "--set"]
    found += [option.removeprefix("--set=") for option in options if option.startswith("--set=")]
    return tuple(found)


def _log(place: Path) -> Path:
    return place.with_name(f"{place.name}.log")
