"""Hook runs into Locust: command-line options, the load shape, events and messages.

`locustfile.py` calls :func:`install`; your own locustfile must do so too.
"""

import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from locust import LoadTestShape, events
from locust.env import Environment
from locust.event import EventHook
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from analysis import without_pandas
from loadgen.console import say
from loadgen.credentials.allowed import OPTIONS as PERMISSIONS
from loadgen.exits import ExitCode, RunError
from loadgen.run import locust_settings, runners
from loadgen.run import registration as joining
from loadgen.run.controller import TO_AGENTS, TO_COORDINATOR, Controller
from loadgen.run.dispatch import dispatcher_of
from loadgen.run.options import add_options
from loadgen.run.own_code import OwnCode
from loadgen.search_path import put_locustfile_last
from loadgen.subprocesses import ENDING_SIGNALS

without_pandas.spare()
# By default gevent keeps the stack that spawned each greenlet, which takes memory: each client has several greenlets.
gevent.config.track_greenlet_tree = False

_NO_SHAPE = (
    "the locustfile has no ScenarioShape, or another load shape before it: it needs"
    " `from loadgen.run.install import ScenarioShape, install`, which starts and ends the run"
)
#: Locust calls a load shape once a second.
_TICK_S = 1.0
#: Environment variable set by `loadgen run` to suppress Locust's closing tables.
QUIET = "LOADGEN_QUIET"


class ScenarioShape(LoadTestShape):
    """Make Locust spawn all users at once, and stop it when the run is over.

    Each client connects at its own time in the scenario's ramp, so Locust's spawning, which works in steps of a second,
    neither limits nor shapes the ramp.
    """

    controller: Controller | None = None

    def tick(self) -> tuple[int, float] | None:
        """Return (users, users per second), or None to stop; Locust calls this once a second."""
        controller = type(self).controller
        if controller is None:
            return None
        if controller.coordinator is not None:
            # Locust calls again only a second after this returns: wait here, to stop as soon as the run is over.
            controller.ended.wait(_TICK_S)
        if controller.over:
            return None
        return controller.total_users, float(controller.total_users)


def install() -> None:
    """Register the harness with Locust; call it once, in a locustfile."""
    # Locust's warning assumes a fixed number of files; `limits.check_open_files` knows how many a run needs.
    logging.getLogger("locust.main").addFilter(lambda record: "open file limit" not in record.getMessage())
    # Users play clients of a scenario and have no Locust tasks.
    logging.getLogger().addFilter(lambda record: "had no tasks left" not in record.getMessage())

    runners.install()
    own_code = OwnCode(events)
    parsers: list[Any] = []

    def on_parser(parser: Any, **_: Any) -> None:
        # For each further locustfile Locust puts the working directory first again.
        put_locustfile_last()
        add_options(parser)
        parsers.append(parser)

    def on_init(environment: Environment, **_: Any) -> None:
        # The first parser: the web UI creates more later, but parses nothing with them.
        _hook(environment, own_code, locust_settings.places(parsers[0]) if parsers else {})

    _add_listener(events.init_command_line_parser, on_parser)
    _add_listener(events.init, on_init)


def _hook(environment: Environment, own_code: OwnCode, places: Mapping[str, str]) -> None:
    controller = Controller(environment, places)
    _tell_places(controller)
    own_code.belong_to(controller, environment)
    ScenarioShape.controller = controller
    runner = environment.runner
    if not isinstance(runner, WorkerRunner) and not isinstance(environment.shape_class, ScenarioShape):
        # Locust would start just one user, and the missing clients would look like refused ones.
        controller.stop_process(_NO_SHAPE, ExitCode.USAGE)
    if os.environ.get(QUIET):
        # `loadgen run` prints its own summary; a second one with other rounding would confuse.
        logging.getLogger("locust.stats_logger").disabled = True
    logging.getLogger("locust.runners").addFilter(_quiet)
    if isinstance(runner, WorkerRunner):
        for kind in TO_AGENTS:
            runner.register_message(kind, controller.on_message)
        _on_signals(controller.on_worker_interrupt)
        if controller.options.processes:
            controller.watch_starter()
        try:
            joining.introduce(runner, controller.options)
        except RunError as error:
            controller.stop_process(str(error), error.code)
        gevent.spawn(controller.watch_master)
    else:
        if isinstance(runner, MasterRunner):
            for kind in TO_COORDINATOR:
                runner.register_message(kind, controller.on_message)
            gevent.spawn(controller.watch_workers)
            environment.dispatcher_class = dispatcher_of(controller.users_of_workers)
            if controller.options.headless:
                gevent.spawn(controller.watch_for_workers)
        assert isinstance(runner, MasterRunner | LocalRunner)
        _on_signals(controller.on_interrupt)
    controller.prepare()
    _listen(environment.events.test_start, controller.test_start)
    _listen(environment.events.test_stopping, controller.end_early)
    _listen(environment.events.quitting, controller.close)


def _tell_places(controller: Controller) -> None:
    """Print which options are set in a file or the environment; exit if one of them grants a permission."""
    for name, place in sorted(controller.places.items()):
        option = f"--{name.replace('_', '-')}"
        if option in PERMISSIONS:
            controller.stop_process(
                f"{option} stands in {place}: it counts only on the command line", ExitCode.USAGE
            )
        if not controller.is_forked:
            say(f"note: {option} stands in {place}, not on the command line")


def _on_signals(handler: Callable[[], None]) -> None:
    """Install ``handler`` for the ending signals that are not ignored, and unblock them all.

    The process that started this one may have blocked them until now. SIGINT is handled even if it was ignored.
    """
    for number in ENDING_SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            gevent.signal_handler(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def _quiet(record: logging.LogRecord) -> bool:
    """Drop Locust's warning about fast spawning: it does not apply, as spawned users wait for the ramp."""
    return "spawn rate is very high" not in record.getMessage()


def _listen(hook: EventHook, handler: Callable[[], None]) -> None:
    _add_listener(hook, lambda **_: handler())


def _add_listener(hook: EventHook, handler: Callable[..., Any]) -> None:
    hook.add_listener(handler)  # type: ignore[no-untyped-call]
