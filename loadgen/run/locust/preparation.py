"""Prepare a run on the master, before the first user starts: resolve it, find or start its target, and check both."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from locust import LoadTestShape
from locust.env import Environment

from loadgen import garbage
from loadgen.aws.access import Access
from loadgen.console import say
from loadgen.credentials.allowed import Allowed
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.live.coming import Coming
from loadgen.live.service import LiveService
from loadgen.payloads.place import Place
from loadgen.planning import limits, room
from loadgen.resolve import ResolvedRun
from loadgen.run import handover, target, target_check
from loadgen.run.handover import Handover
from loadgen.run.locust import user_classes
from loadgen.run.options import RunOptions
from loadgen.run.placement import Placement
from loadgen.server.process import ServerProcess, ServerStartError
from loadgen.transport import proxy, sources

#: Pid of the process that loaded this module; with `--processes` it forks the workers.
LOADED_BY = os.getpid()


@dataclass(frozen=True)
class Prepared:
    """A resolved and checked run, with everything that it needs to begin."""

    given: Handover
    #: The rows of the run's data.
    tables: Tables
    target: target.Target
    live: LiveService


class Preparation:
    """Check one run and its target.

    ``places`` maps each option that a file or environment variable sets to the name of that file or variable.
    ``separate_workers`` is True on a master whose workers are other processes. If the embedded server is started,
    ``on_server`` is called with it at once: the caller must stop it even if a later check fails.
    """

    def __init__(
        self,
        environment: Environment,
        options: Any,
        places: Mapping[str, str],
        allowed: Allowed,
        *,
        separate_workers: bool,
        on_server: Callable[[ServerProcess], None],
        shape: LoadTestShape | None = None,
    ) -> None:
        """``shape`` is the locustfile's own load shape, if it has one."""
        self._environment = environment
        self._options = options
        self._places = places
        self._allowed = allowed
        self._processes = getattr(options, "processes", None)
        #: True if this process, or workers that it forks, open the clients' sockets, so that this machine's limits
        #: apply.
        self._plays_here = not separate_workers or bool(self._processes)
        self._on_server = on_server
        self._shape = shape

    def prepared(self) -> Prepared:
        """Return the run, its target and its live displays after all checks.

        Raises:
            ScenarioError: the scenario or another file cannot be read or is not valid.
            RunError: the run cannot begin, or is not permitted.
            SourceError: this machine does not have the given source addresses.
        """
        options = self._options
        # `loadgen run` has already checked the run that it hands over, and had its cost confirmed. Under plain Locust
        # the run is resolved and checked here.
        given = handover.received() or self._resolve()
        run = given.run
        user_classes.restrict(self._environment, run)
        if run.journeys:
            run = user_classes.with_loops(run, self._environment.user_classes)
            given = msgspec.structs.replace(given, run=run)
            # Switch off Locust's timer: the run ends by itself, and the timer would cut off its drain.
            vars(self._environment.parsed_options)["run_time"] = None
        for warning in run.warnings:
            say(f"note: {warning}")
        processes = max(1, self._processes or 1)
        if self._plays_here:
            limits.check_open_files(run.totals.sockets, processes)
        Placement.of(options).check()
        # Start the live displays before the embedded server and before anything is sent: if their port is taken, the
        # run is refused here.
        live = LiveService(
            options.prometheus,
            options.live_otel or getattr(options, "otel", False),
            self._environment.web_ui,
            getattr(options, "web_base_path", None) or "",
            options.allowed_hosts or (),
        )
        found = self._target_of(run)
        if said := proxy.sentence(found.proxies()):
            say(f"note: {said}")
        if self._plays_here:
            connect_url, http_url = found.urls()
            addresses = sources.Sources.from_environment()
            limits.check_local_ports(connect_url, run.totals.websockets, http_url, run.totals.http, addresses)
        tables = given.tables()
        by_group, makers = found.login_makers(run)
        try:
            first = target_check.first_clients(run, tables, by_group)
            target_check.check(found, run.phases.ready_timeout_ns / 1e9, first)
        finally:
            for each in makers:
                each.stop()
        live.prepared(Coming.of(run, str(found.describe()["url"])))
        # Print these notices last: a user whose run was refused by a check above does not need them.
        say_room(processes, embedded=options.target is None and run.target is None)
        for line in live.shown:
            say(line)
        return Prepared(given, tables, found, live)

    def _target_of(self, run: ResolvedRun) -> target.Target:
        """Return the target that the options or the scenario name, or start the embedded server."""
        options = self._options
        found = target.Target.resolve(
            run,
            options.target,
            options.api_key_env,
            options.auth,
            Access(options.aws_profile, options.aws_region),
            options.allow_remote,
            self._allowed,
            self._places.get("auth") or self._places.get("api_key_env"),
            self._places.get("target"),
        )
        if found is None:
            return self._serve(run.totals.namespaces, run.stamps.place)
        if options.faults or options.journal:
            raise RunError(
                "--faults and --journal are the embedded server's: leave them out, or the target",
                ExitCode.USAGE,
            )
        found.check_namespaces(run.totals.namespaces)
        return found

    def _resolve(self) -> Handover:
        """Resolve the scenario named in plain Locust's options.

        Raises:
            ScenarioError: the scenario is invalid.
            RunError: the options do not fit the scenario, or do not permit the run that it describes.
        """
        # Import these only here: a process started by `loadgen run` receives a resolved run and does not need them.
        from loadgen.planning import guard
        from loadgen.planning.prices import load_prices
        from loadgen.resolve.resolver import run_of
        from loadgen.run.locust import locustfile_run

        options = self._options
        classes = self._environment.user_classes
        if locustfile_run.stands_alone(classes, options.scenario, RunOptions.DEFAULT_SCENARIO):
            run, tables = locustfile_run.run_of_classes(classes, options, self._shape)
        else:
            if getattr(options, "data", None):
                raise RunError(
                    "--data goes with a locustfile that has no scenario: name the file in the scenario's 'data'",
                    ExitCode.USAGE,
                )
            run, tables = run_of(options.scenario, options.overrides or (), options.target)
        prices = load_prices(None if options.prices is None else Path(options.prices))
        where = guard.elsewhere(options.target, run)
        found = guard.check(
            run,
            prices,
            options.max_cost,
            where,
            options.allow_remote,
            guard.protocol_for(options.target, run),
        )
        if found.refusal is not None:
            raise RunError(found.refusal, ExitCode.USAGE)
        if found.question is not None and not options.yes:
            raise RunError(guard.unconfirmed(found.question), ExitCode.USAGE)
        return Handover.of(run, tables, prices, options.max_cost)

    def _serve(self, namespaces: tuple[str, ...], place: Place) -> target.Target:
        """Start the embedded server and return it as the target; raises RunError if it does not start.

        The server ends when this process ends, even if this process is killed.
        """
        arguments = [part for name in namespaces for part in ("--namespace", name)]
        faults = None
        if self._options.faults is not None:
            faults = _faults(self._options.faults)
            arguments += ["--faults", self._options.faults]
        if self._options.journal is not None:
            arguments += ["--journal", self._options.journal]
            if not place.is_default:
                arguments += ["--stamp", place.name]
        server = ServerProcess(arguments)
        try:
            server.start(meanwhile=_load_ahead)
        except ServerStartError as error:
            raise RunError(f"the embedded Event API did not start: {error}", ExitCode.TARGET) from None
        self._on_server(server)
        announced = server.announcement
        return target.Target(announced.http_url, api_key=announced.api_key, faults=faults)


def say_room(processes: int, *, embedded: bool) -> None:
    """Print each limit or load of this container or machine that may spoil a run; forked workers print nothing."""
    if os.getpid() == LOADED_BY:
        for note in room.notes(room.room_here(), max(1, processes), embedded):
            say(f"note: {note}")


def _load_ahead() -> None:
    """Import the modules that numpy and pyarrow would otherwise import during the run, when rows are first written."""
    with garbage.loading():
        import numpy.ma  # noqa: F401
        import pyarrow.compute  # noqa: F401


def _faults(path: str) -> dict[str, Any]:
    """Return the settings of a faults file; raises RunError if it cannot be read or is invalid."""
    from loadgen.server.api_keys import ConfigError
    from loadgen.server.faults import load_faults

    try:
        settings: dict[str, Any] = load_faults(Path(path)).model_dump(
            mode="json", by_alias=True, exclude_defaults=True
        )
    except ConfigError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
    return settings
