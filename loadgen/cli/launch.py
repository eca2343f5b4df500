"""Starting Locust for `loadgen run`, and looking after it.

Locust runs as a child with the same command line that a person would type, so that `loadgen run` and plain `locust` are
one path. This process stays plain Python: it outlives whatever happens to the child and completes the record of one
that was killed.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadgen import children
from loadgen.paths import bundle
from loadgen.planning import guard
from loadgen.planning.prices import Prices, load_prices
from loadgen.run.exits import ExitCode, RunError
from loadgen.scenario import Plan, Scenario, ScenarioError, check_overlaps, load, overrides_of

_WORKERS_TIMEOUT_S = 15.0
#: A child that ends with one of these has said and kept what there was; 1 is also what Locust ends with when it fails.
_OWN_CODES = frozenset(int(code) for code in ExitCode if code is not ExitCode.GATE_FAILED)


@dataclass
class Request:
    """What the command line asked for."""

    scenario: str
    target: str | None
    api_key_env: str | None
    auth: str | None
    results: Path
    overrides: list[str]
    processes: int
    master: bool
    expect_workers: int
    worker: bool
    master_host: str
    master_port: int
    master_bind_host: str
    web: bool
    web_port: int
    faults: Path | None = None
    journal: Path | None = None
    max_cost: float | None = None
    prices: Path | None = None
    yes: bool = False
    report: bool = True
    allow_remote: bool = False
    profile: str | None = None
    region: str | None = None
    cloudwatch: bool = False
    prometheus: str | None = None
    otel: bool = False


def run(request: Request) -> int:
    """Run Locust for a request; return its exit code."""
    problem = _problem(request)
    if problem is not None:
        for line in problem.splitlines():
            print(f"loadgen: {line}", file=sys.stderr)
        return int(ExitCode.USAGE)
    if request.web and not request.worker:
        print(
            f"Locust's web UI: http://127.0.0.1:{request.web_port} (press Start there; Ctrl-C here ends it)",
            flush=True,
        )
    before = _folders(request.results)
    command = _command(request)
    child = subprocess.Popen(command, env={**children.environment(), "LOADGEN_QUIET": "1"})  # noqa: S603
    # Ctrl-C goes to the whole foreground group: the child ends the run, we wait for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    if not request.worker and code not in _OWN_CODES:
        for folder in sorted(_folders(request.results) - before):
            if _unfinished(folder):
                return _rescue(folder, command, code, report=request.report)
    if request.cloudwatch and not request.worker:
        for folder in sorted(_folders(request.results) - before):
            _cloudwatch(folder, request)
    return code if code >= 0 else int(ExitCode.INCONCLUSIVE)


def _cloudwatch(folder: Path, request: Request) -> None:
    """Set CloudWatch's metrics beside a run that has ended; whether they come does not change how it ended."""
    from loadgen.aws.access import Access
    from loadgen.cli.aws import fetch_metrics

    later = f"fetch them later with `loadgen aws metrics {folder}`"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fetch_metrics(folder, Access(request.profile, request.region), wait=True)
    except RunError as error:
        print(f"loadgen: {error}\nloadgen: {later}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"loadgen: not waited for CloudWatch's metrics: {later}", file=sys.stderr)


def report(folder: Path) -> int:
    """Make summary and report of a folder, completing a record that broke off; return the exit code."""
    from loadgen.run.record import RunFolder

    try:
        if (folder / "manifest.json").exists() and (run_folder := RunFolder.open(folder)).incomplete:
            run_folder.complete()
    except RunError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return int(error.code)
    return children.analyse(folder)


def _problem(request: Request) -> str | None:
    """Return what is wrong with a request, found before Locust is started."""
    if request.worker and (request.master or request.processes > 1):
        return "--worker cannot be combined with --master or --processes"
    if request.cloudwatch and (problem := _cloudwatch_problem(request)) is not None:
        return problem
    if request.worker and (request.prometheus is not None or request.otel):
        return "--prometheus and --otel are the master's: leave them out with --worker"
    if request.master and request.processes > 1:
        return (
            "--master cannot be combined with --processes: start workers with `loadgen run SCENARIO --worker`"
        )
    try:
        scenario = load(request.scenario, overrides_of(request.overrides), target=request.target)
        check_overlaps(scenario, Plan(scenario))
        known = load_prices(request.prices)
    except ScenarioError as error:
        return str(error)
    if not request.worker and (problem := _cost_problem(request, scenario, known)) is not None:
        return problem
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


def _cloudwatch_problem(request: Request) -> str | None:
    """Return why CloudWatch will have nothing to say: told now, not after the run."""
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


def _cost_problem(request: Request, scenario: Scenario, prices: Prices) -> str | None:
    """Return why a run must not go where it would, or costs too much; asks on a terminal where it costs something.

    The child that runs it checks the same, for whoever starts it as plain Locust; what is confirmed here is told to it.
    """
    where = guard.elsewhere(request.target, scenario)
    protocol = guard.protocol_for(request.target, scenario)
    found = guard.check(
        scenario, Plan(scenario), prices, request.max_cost, where, request.allow_remote, protocol
    )
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


def _command(request: Request) -> list[str]:
    command = children.command("locust", "-f", str(bundle("locustfile.py")), "--scenario", request.scenario)
    command += ["--results", str(request.results), "--loglevel", "WARNING"]
    for item in request.overrides:
        command += ["--set", item]
    if request.target is not None:
        command += ["--target", request.target]
    if request.api_key_env is not None:
        command += ["--api-key-env", request.api_key_env]
    if request.auth is not None:
        command += ["--auth", request.auth]
    if request.max_cost is not None:
        command += ["--max-cost", repr(request.max_cost)]
    if request.yes:
        command.append("--yes")
    if not request.report:
        command.append("--no-report")
    if request.allow_remote:
        command.append("--allow-remote")
    if request.profile is not None:
        command += ["--aws-profile", request.profile]
    if request.region is not None:
        command += ["--aws-region", request.region]
    files = {"--faults": request.faults, "--journal": request.journal, "--prices": request.prices}
    for option, path in files.items():
        if path is not None:
            command += [option, str(path)]
    if request.worker:
        return [
            *command,
            "--worker",
            "--master-host",
            request.master_host,
            "--master-port",
            str(request.master_port),
        ]
    if request.prometheus is not None:
        command += ["--prometheus", request.prometheus]
    if request.otel:
        command.append("--live-otel")
    if request.web:
        command += ["--web-host", "127.0.0.1", "--web-port", str(request.web_port)]
    else:
        command += ["--headless", "--only-summary"]
    if request.processes > 1:
        # A free port: two runs on one machine must not meet.
        port = str(_free_port())
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _folders(results: Path) -> set[Path]:
    try:
        return {path.parent for path in results.glob("*/manifest.json")}
    except OSError:
        return set()


def _unfinished(folder: Path) -> bool:
    try:
        status = json.loads((folder / "manifest.json").read_text())["status"]
    except (OSError, ValueError, KeyError):
        return False
    return bool(status == "running")


def _rescue(folder: Path, command: list[str], child_code: int, *, report: bool) -> int:
    """Complete the record of a run whose master died, and report it as failed."""
    from loadgen.run.record import RunFolder

    _wait_for_workers(command)
    run_folder = RunFolder.open(folder)
    how = f"signal {-child_code}" if child_code < 0 else f"exit code {child_code}"
    run_folder.manifest.status = "failed"
    run_folder.manifest.exit_code = int(ExitCode.INCONCLUSIVE)
    run_folder.manifest.reason = (
        f"the master process ended before the run did ({how}); its workers' records are kept"
    )
    print(f"loadgen: {run_folder.manifest.reason}", file=sys.stderr)
    try:
        run_folder.complete()
    except RunError as error:
        print(f"loadgen: {error}", file=sys.stderr)
    else:
        children.analyse(folder, report=report)
    return int(ExitCode.INCONCLUSIVE)


def _wait_for_workers(command: list[str]) -> None:
    """Wait until the dead master's forked workers have noticed, written their record and gone."""
    deadline = time.monotonic() + _WORKERS_TIMEOUT_S
    while time.monotonic() < deadline:
        # Forks have the command line of the process that forked them.
        if not any(process.info["cmdline"] == command for process in psutil.process_iter(["cmdline"])):
            return
        time.sleep(0.2)
