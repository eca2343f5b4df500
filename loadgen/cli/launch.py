"""Start Locust for `loadgen run`, and finish the record if Locust dies.

Locust runs as a subprocess with a command line that a user could type too, so `loadgen run` and plain `locust` share
one code path. This process does not load Locust, so it survives a crash of the subprocess and can complete the record.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from analysis.record import places
from analysis.record.places import Place
from loadgen import subprocesses
from loadgen.cli import users_files
from loadgen.config.text import shown
from loadgen.console import say
from loadgen.credentials.allowed import Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode, RunError
from loadgen.planning import guard
from loadgen.planning.prices import Prices, load_prices
from loadgen.resolve import ResolvedRun
from loadgen.resolve.resolver import run_of
from loadgen.run import ending, handover, locust_options, locust_settings
from loadgen.run.ending import Ending, Told
from loadgen.run.handover import Handover
from loadgen.run.keyless import beyond_loopback, needs_key, worker_needs_key
from loadgen.run.options import RunOptions
from loadgen.run.shares import weight_of
from loadgen.scenario import ScenarioError, repeating

#: Exit codes that a worker sets itself. 1 is not one of them: Locust exits with 1 when it fails.
_CODES_OF_WORKERS = frozenset(ExitCode) - {ExitCode.GATE_FAILED}


def run(request: RunOptions) -> int:
    """Run Locust for a request and return the exit code of `loadgen run`."""
    problem = _problem(request)
    if problem is not None:
        say(problem)
        return int(ExitCode.USAGE)
    try:
        if (problem := users_files.problem(request)) is not None:
            raise RunError(problem, ExitCode.USAGE)
        # Two kinds of runs are not resolved here: a worker gets its resolved run from the master, and the run of a
        # locustfile is resolved by the process that loads the locustfile.
        resolved = (
            None if request.worker or users_files.is_locustfile(request.scenario) else _resolved(request)
        )
        found = users_files.files(request, None if resolved is None else resolved.run)
        with ExitStack() as stack:
            if resolved is None:
                return _started(request, None, (), found)
            run_fd = stack.enter_context(handover.handed(resolved))
            return _started(request, run_fd, tuple(resolved.data.values()), found)
    except ScenarioError as error:
        say(str(error))
        return int(ExitCode.USAGE)
    except RunError as error:
        say(str(error))
        return int(error.code)


def _started(
    request: RunOptions, run_fd: int | None, data_fds: tuple[int, ...], locustfiles: Sequence[Path]
) -> int:
    """Run Locust, which reads the resolved run from the descriptor ``run_fd``, and return the exit code.

    ``data_fds`` are open files with the rows of the run's data, and ``locustfiles`` have the user classes.
    """
    if (note := locust_settings.ignored()) is not None:
        say(note)
    reader, writer = os.pipe()
    environment = {**subprocesses.environment(), "LOADGEN_QUIET": "1", ending.STATUS_FD: str(writer)}
    passed = [writer, *data_fds]
    if run_fd is not None:
        environment[handover.RUN_FD] = str(run_fd)
        passed.append(run_fd)
    # With several processes, the started process only forks the workers, so signals go to its process group.
    to_group = request.worker and request.processes > 1
    with subprocesses.Supervised(
        _command(request, locustfiles), environment, to_group=to_group, pass_fds=passed
    ) as child:
        returncode = child.wait()
        os.close(writer)
        told = Told.read(reader)
        os.close(reader)
        code = _code(request, child, returncode, told)
    if request.cloudwatch and not request.worker and told.folder is not None:
        _cloudwatch(told.folder, request)
    if told.folder is not None:
        # Report the run's folder and exit code to `loadgen.run_scenario`, if that function has started this command.
        ending.tell(folder=str(told.folder), code=int(code))
    return int(code)


def _code(request: RunOptions, child: subprocesses.Supervised, returncode: int, told: Told) -> ExitCode:
    """Return the exit code that the run reported.

    If it reported none, complete its record and return `ExitCode.INCONCLUSIVE`, or `ExitCode.INTERRUPTED` after an
    interrupt before any measurement.
    """
    if told.code is not None:
        return told.code
    if request.worker and returncode in _CODES_OF_WORKERS:
        # A worker ends with the exit code of its own process: only the master reports the result of the run.
        return ExitCode(returncode)
    if told.folder is None and returncode == ExitCode.USAGE and users_files.loads(request):
        # No message here: the subprocess that loaded the user's Python files has already printed what is wrong with
        # them.
        return ExitCode.USAGE
    what = "the worker" if request.worker else "the master process"
    if told.folder is not None:
        return _rescue(told.folder, child, returncode, request)
    if child.interrupts:
        say("interrupted before anything was measured")
        return ExitCode.INTERRUPTED
    say(f"{ending.how_it_ended(what, returncode)}; nothing was recorded")
    return ExitCode.INCONCLUSIVE


def _rescue(folder: Path, child: subprocesses.Supervised, returncode: int, request: RunOptions) -> ExitCode:
    """Complete the record of a run whose master died, and report the run as failed."""
    from loadgen.run.record import RunFolder

    # Workers write their data as soon as they notice that the master is gone, so wait for them.
    subprocesses.leave_none()
    how = ending.how_it_ended("the master process", returncode)
    try:
        run_folder = RunFolder.open(folder)
        if not run_folder.incomplete:
            say(f"{how} after the record was complete: `loadgen report {folder}` makes the report from it")
            return ExitCode.INTERRUPTED if child.interrupts else ExitCode.INCONCLUSIVE
        if run_folder.manifest.status == "running":
            run_folder.broke_off(f"{how} before the run did")
            run_folder.manifest.oom_kills = ending.KILLS.since()
        say(str(run_folder.manifest.reason))
        run_folder.complete()
    except RunError as error:
        return _said(ending.decide(folder, ExitCode.INCONCLUSIVE, ending.Analysis(), False, str(error)))
    interrupts = child.interrupts
    analysis = ending.analyse(
        folder,
        report=request.report,
        shown=ending.shown(request),
        cancelled=lambda: child.interrupts > interrupts,
        sleep=time.sleep,
    )
    if analysis.returncode == 0 and (where := run_folder.leave_rows_in_storage()) is not None:
        say(where)
    return _said(ending.decide(folder, ExitCode.INCONCLUSIVE, analysis, bool(child.interrupts), None))


def _said(found: Ending) -> ExitCode:
    for sentence in found.sentences:
        say(sentence)
    return found.code


def _cloudwatch(folder: Path, request: RunOptions) -> None:
    """Compare a finished run with CloudWatch's metrics; a failure here does not change the run's exit code."""
    from loadgen.aws.access import Access
    from loadgen.cli.cloudwatch import fetch_metrics

    later = f"fetch them later with `loadgen aws metrics {folder}`"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fetch_metrics(folder, Access(request.profile, request.region), wait=True)
    except RunError as error:
        say(f"{error}\n{later}")
    except KeyboardInterrupt:
        say(f"not waited for CloudWatch's metrics: {later}")


def report(folder: Path) -> int:
    """Write summary and report of a run folder, and return the exit code.

    An incomplete record is completed first.
    """
    from loadgen.run.record import RunFolder

    completed = None
    try:
        if (folder / "manifest.json").exists() and (run_folder := RunFolder.open(folder)).incomplete:
            if (pid := run_folder.running) is not None:
                say(f"{folder} is of a run that still goes on (pid {pid}): wait for its end, or interrupt it")
                return int(ExitCode.USAGE)
            if run_folder.manifest.status == "running":
                run_folder.broke_off("the run broke off without a word")
            run_folder.complete()
            completed = run_folder
    except RunError as error:
        say(str(error))
        return int(error.code)
    found = ending.analyse(folder, sleep=time.sleep)
    if completed is not None and found.returncode == 0:
        _ = completed.leave_rows_in_storage()
    if found.returncode == ExitCode.USAGE:
        # No message here: the analysis has already printed what is wrong with the folder.
        return int(ExitCode.USAGE)
    # `loadgen report` exits with 0 once the report is written, whatever the run's own result was.
    return int(
        ExitCode.PASSED
        if found.returncode == 0
        else _said(ending.decide(folder, ExitCode.PASSED, found, False, None))
    )


def _problem(request: RunOptions) -> str | None:
    """Return an error in the request that can be found before Locust is started, or None."""
    if request.worker and request.master:
        return "--worker cannot be combined with --master"
    if request.weight is not None:
        if not request.worker:
            return "--weight is a worker's: give it with --worker"
        try:
            weight_of(request.weight)
        except ValueError as error:
            return f"--weight: {error}"
    try:
        allowed = Allowed.of(request.allow_env, storage=request.spool_to)
        if allowed.storage is not None:
            # The user names this place, so this process and its children may read the rows from there.
            places.trust([Place.of(allowed.storage)])
    except CredentialError as error:
        return str(error)
    if request.worker and (request.prometheus is not None or request.otel):
        return "--prometheus and --otel are the master's: leave them out with --worker"
    if (problem := _join_problem(request)) is not None:
        return problem
    if request.worker:
        # A worker skips the following checks: the master makes them.
        return None
    if request.scenario is None:
        return "name a scenario of the catalogue (see `loadgen scenarios`) or a YAML file"
    if request.cloudwatch and (problem := _cloudwatch_problem(request)) is not None:
        return problem
    if request.master and request.processes > 1:
        return (
            "--master cannot be combined with --processes: start workers with `loadgen run SCENARIO --worker`"
        )
    port = request.web_port if request.web else None
    for number, name, option in (
        (port, "web UI", "--web-port"),
        (request.master_port if request.master else None, "master", "--master-port"),
    ):
        if number is not None and _taken(number):
            return (
                f"port {number} for the {name} is taken: stop what uses it, or choose another with {option}"
            )
    return None


def _resolved(request: RunOptions) -> Handover:
    """Resolve the run once for all processes, and check its cost.

    Raises:
        ScenarioError: the scenario or the price file is not valid.
        RunError: the run is refused for its target or cost, or was not confirmed.
    """
    assert request.scenario is not None
    if request.target is None and (elsewhere := _recorded_target(request.scenario)) is not None:
        raise RunError(
            f"the run in {request.scenario} was against {shown(elsewhere)}: give --target, with a login, to repeat it",
            ExitCode.USAGE,
        )
    run, tables = run_of(request.scenario, request.overrides, request.target)
    prices = load_prices(request.prices)
    if (problem := _cost_problem(request, run, prices)) is not None:
        raise RunError(problem, ExitCode.USAGE)
    return Handover.of(run, tables, prices, request.max_cost)


def _recorded_target(scenario: str) -> str | None:
    """Return the target of the recorded run that ``scenario`` names and that is to be repeated, or None.

    None means that the run used the embedded server, or that ``scenario`` is not a recorded run.
    """
    path = Path(scenario)
    return repeating.target_of(path) if repeating.is_run(path) else None


def _join_problem(request: RunOptions) -> str | None:
    """Return an error if the key with which workers join a master is missing or unreadable, else None.

    If a master has no keys, create them. The subprocess reads the keys again, since it may also be started as plain
    Locust.
    """
    if not (request.worker or request.master):
        if request.join is not None:
            return "--join goes with --master or --worker: workers of --processes have a key by themselves"
        return None
    # Imported here because it loads ZeroMQ.
    from loadgen.run import join

    try:
        if request.worker:
            if join.for_worker(request.join) is None and beyond_loopback(request.master_host):
                return worker_needs_key(request.master_host)
        elif join.for_master(request.join) is None and beyond_loopback(request.master_bind_host):
            return needs_key(request.master_bind_host)
    except RunError as error:
        return str(error)
    return None


def _cloudwatch_problem(request: RunOptions) -> str | None:
    """Return an error, to print before the run, if --cloudwatch cannot work for this run, else None."""
    from loadgen.aws.access import Access

    if request.worker:
        return "--cloudwatch goes with the master, not with a worker"
    target = request.target
    if target is None or not (target.startswith("aws:") or "amazonaws.com" in target):
        return (
            "--cloudwatch goes with a target on AWS: of an API under a domain of its own fetch the metrics later, with"
            " `loadgen aws metrics`"
        )
    try:
        Access(request.profile, request.region).session()
    except RunError as error:
        return str(error)
    return None


def _cost_problem(request: RunOptions, run: ResolvedRun, prices: Prices) -> str | None:
    """Return why the run's target or cost forbids the run, or None; on a terminal, ask for confirmation if needed.

    A plain `locust` command gets no resolved run and makes the same checks itself.
    """
    where = guard.elsewhere(request.target, run)
    protocol = guard.protocol_for(request.target, run)
    found = guard.check(run, prices, request.max_cost, where, request.allow_remote, protocol)
    if found.refusal is not None:
        return found.refusal
    if found.question is None or request.yes:
        return None
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return guard.unconfirmed(found.question)
    print(f"loadgen: {found.question}. Run it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return "not confirmed: the run is not started"
    request.yes = True
    return None


def _command(request: RunOptions, locustfiles: Sequence[Path]) -> list[str]:
    command = subprocesses.command("locust", "-f", ",".join(map(str, locustfiles)), "--loglevel", "WARNING")
    if request.worker:
        command += [
            "--worker",
            "--master-host",
            request.master_host,
            "--master-port",
            str(request.master_port),
        ]
        command += locust_options.arguments(request)
        return command if request.processes == 1 else [*command, "--processes", str(request.processes)]
    assert request.scenario is not None
    command += users_files.for_locust(request)
    if request.web:
        command += ["--web-host", "127.0.0.1", "--web-port", str(request.web_port)]
    else:
        command += ["--headless", "--only-summary"]
    if request.processes > 1:
        # Let master and workers use a free port, so that two runs on one machine do not collide.
        port = str(subprocesses.free_port())
        command += ["--processes", str(request.processes), "--master-bind-host", "127.0.0.1"]
        command += ["--master-bind-port", port, "--master-port", port]
    elif request.master:
        command += ["--master", "--expect-workers", str(request.expect_workers)]
        command += [
            "--master-bind-host",
            request.master_bind_host,
            "--master-bind-port",
            str(request.master_port),
        ]
    return command


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
