"""Hook runs into Locust: command-line options, the load shape, events and messages.

`locustfile.py` calls :func:`install`; your own locustfile must do so too. Both import it from `loadgen.run.install`.
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.event import EventHook
from locust.runners import MasterRunner, WorkerRunner

from analysis import without_pandas
from loadgen.console import say
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode
from loadgen.run import locust_settings, runners
from loadgen.run.locust.base import LocustProcess, Settings
from loadgen.run.locust.local import LocalProcess
from loadgen.run.locust.master import MasterProcess
from loadgen.run.locust.own_code import OwnCode
from loadgen.run.locust.shape import Runs, ScenarioShape
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.locust.worker import WorkerProcess
from loadgen.run.locust_options import OF_LOCUST, add_options
from loadgen.run.runners import GuardedMaster, GuardedWorker
from loadgen.run.signals import on_ending_signals
from loadgen.search_path import put_locustfile_last
from loadgen.transport import proxy
from loadgen.users.journeys.user import EventsUser

without_pandas.spare()
# Switch off a default of gevent, which keeps for each greenlet the stack that spawned it. The stacks take memory, since
# each client has several greenlets.
gevent.config.track_greenlet_tree = False

_NO_SHAPE = (
    "the locustfile has no ScenarioShape, or another load shape before it: it needs"
    " `from loadgen.run.install import ScenarioShape, install`, which starts and ends the run"
)
_installed = False
#: Environment variable set by `loadgen run` to suppress Locust's closing tables.
QUIET = "LOADGEN_QUIET"


def install() -> None:
    """Register the harness with Locust; call it in a locustfile. A second call does nothing.

    A locustfile that imports `EventsUser` need not call it.
    """
    global _installed
    if _installed:
        return
    _installed = True
    # Drop Locust's warning about open files, since `limits.check_open_files` checks the number that the run needs.
    logging.getLogger("locust.main").addFilter(lambda record: "open file limit" not in record.getMessage())
    # Drop the warning about users without tasks: users play clients of a scenario and need no Locust tasks.
    logging.getLogger().addFilter(lambda record: "had no tasks left" not in record.getMessage())

    runners.install()
    own_code = OwnCode(events)
    parsers: list[Any] = []

    def on_parser(parser: Any, **_: Any) -> None:
        # Locust calls this for each locustfile, after it has put the working directory first on `sys.path`. Move the
        # directory back to the end.
        put_locustfile_last()
        add_options(parser)
        parsers.append(parser)

    def on_init(environment: Environment, **_: Any) -> None:
        # Use the first parser: the web UI creates more later, but parses nothing with them.
        _hook(environment, own_code, locust_settings.places(parsers[0]) if parsers else {})

    _add_listener(events.init_command_line_parser, on_parser)
    _add_listener(events.init, on_init)


def _hook(environment: Environment, own_code: OwnCode, places: Mapping[str, str]) -> None:
    this_process = ThisProcess()
    proxy.switch_off(getattr(environment.parsed_options, "no_proxy", False))
    try:
        settings = Settings.of(environment, places)
    except CredentialError as error:
        this_process.stop(str(error), ExitCode.USAGE)
    process = _process_of(settings, this_process)
    _tell_places(process)
    own_code.belong_to(process, environment)
    if process.runs is not None:
        classes = environment.user_classes
        if any(issubclass(each, EventsUser) for each in classes):
            # The user's own load shape is evaluated when the run is resolved: see `locustfile_run`.
            settings.shape, environment.shape_class = environment.shape_class, ScenarioShape()
        if not isinstance(environment.shape_class, ScenarioShape):
            # Without `ScenarioShape` Locust would start only one user. It would look as if the target had refused the
            # other clients.
            this_process.stop(_NO_SHAPE, ExitCode.USAGE)
        give_shapes(environment, process.runs)
    if os.environ.get(QUIET):
        # `loadgen run` prints its own summary; a second one with other rounding would confuse.
        logging.getLogger("locust.stats_logger").disabled = True
    logging.getLogger("locust.runners").addFilter(_quiet)
    # Locust logs a traceback for each send that it repeats, for example to a master that refuses this worker. Leave
    # these log records out, since a repeated send is no error of the program.
    logging.getLogger("locust.util.exception_handler").addFilter(lambda record: record.exc_info is None)
    process.register()
    on_ending_signals(process.on_interrupt)
    process.watch()
    process.prepare()
    _listen(environment.events.test_start, process.begin)
    _listen(environment.events.test_stopping, process.end_early)
    _listen(environment.events.quitting, process.close)


def _process_of(settings: Settings, this_process: ThisProcess) -> LocustProcess:
    """Return the process object (worker, master or local) that fits the kind of runner that Locust has made."""
    runner = settings.environment.runner
    if isinstance(runner, WorkerRunner):
        assert isinstance(runner, GuardedWorker)
        return WorkerProcess(settings, this_process, runner)
    if isinstance(runner, MasterRunner):
        assert isinstance(runner, GuardedMaster)
        return MasterProcess(settings, this_process, runner)
    return LocalProcess(settings, this_process)


def give_shapes(environment: Environment, runs: Runs) -> None:
    """Replace each `ScenarioShape` made by Locust with a copy that ends the test when the run in ``runs`` is over."""
    # Replace every shape of the locustfile, since the web UI's class picker offers all of them.
    shapes = environment.available_shape_classes or {}
    for name, shape in shapes.items():
        if isinstance(shape, ScenarioShape):
            shapes[name] = shape.of(runs)
    if isinstance(environment.shape_class, ScenarioShape):
        environment.shape_class = environment.shape_class.of(runs)


def _tell_places(process: LocustProcess) -> None:
    """Print which options come from a file or the environment; exit if one of them is an `--allow-…` option."""
    for name, place in sorted(process.settings.places.items()):
        entry = OF_LOCUST.get(name)
        option = f"--{name.replace('_', '-')}" if entry is None else entry.locust_flag
        if entry is not None and entry.option.permission:
            process.stop_process(
                f"{option} stands in {place}: it counts only on the command line", ExitCode.USAGE
            )
        if not process.is_forked:
            say(f"note: {option} stands in {place}, not on the command line")


def _quiet(record: logging.LogRecord) -> bool:
    """Drop Locust's warning about fast spawning: it does not apply, as spawned users wait for the ramp."""
    return "spawn rate is very high" not in record.getMessage()


def _listen(hook: EventHook, handler: Callable[[], None]) -> None:
    _add_listener(hook, lambda **_: handler())


def _add_listener(hook: EventHook, handler: Callable[..., Any]) -> None:
    hook.add_listener(handler)  # type: ignore[no-untyped-call]
