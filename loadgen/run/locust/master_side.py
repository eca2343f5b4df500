"""The master's side of a process: prepare runs, begin and end them, and watch the workers and the embedded server.

The coordinator takes a run through its phases (`loadgen.run.coordinator`).
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent
from locust.env import Environment

from loadgen.config.problems import ScenarioError
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.run import ending
from loadgen.run.account import Account
from loadgen.run.coordinator import FINISHING, Coordinator
from loadgen.run.display import display_of
from loadgen.run.locust.master_run import Display, MasterRun
from loadgen.run.locust.preparation import Prepared
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Link, Message
from loadgen.run.option import AbortOn
from loadgen.run.placement import Placement
from loadgen.run.spool_to import storage_of
from loadgen.run.worker_info import WorkerInfo
from loadgen.server.process import ServerProcess
from loadgen.transport.sources import SourceError
from loadgen.users.journeys.user import EventsUser
from loadgen.users.roles import LoadUser

_SERVER_INTERVAL_S: Final = 0.1
_WORKERS_INTERVAL_S: Final = 0.5

#: Prepares a run; calls its argument with the embedded server as soon as the server has started. Raises ScenarioError,
#: RunError or SourceError.
Prepare = Callable[[Callable[[ServerProcess], None]], Prepared]


class Workers(Link, Protocol):
    """The workers of a master: the one in its own process, or those connected to it."""

    def admitted(self, *, embedded: bool) -> list[WorkerInfo]:
        """Return the workers that take part in a run that begins now; raises RunError if too few do.

        ``embedded`` is True if the target is the embedded server.
        """

    def begin_worker(self, worker_id: str, begin: Begin, tables: Tables) -> None:
        """Begin a worker's part in a run; ``tables`` are the run's data."""

    def in_reach(self, worker_id: str) -> bool:
        """Return True if the worker can be reached."""

    def refused(self) -> dict[str, Any] | None:
        """Return the manifest's `refused` (rejected connections and messages), or None if there are none."""


class MasterSide:
    """Own the runs of a master, or of a process that is master and worker.

    ``early`` holds failures and checks of the user's code from before a run; if ``takes_early`` is True, the next run
    takes them over. Tests replace ``coordinator_of``, ``display_of``, ``run_of``, ``spawn`` and ``sleep``.
    """

    def __init__(
        self,
        environment: Environment,
        options: Any,
        workers: Workers,
        this_process: ThisProcess,
        early: Account,
        prepare: Prepare,
        *,
        takes_early: bool,
        coordinator_of: Callable[..., Coordinator] = Coordinator,
        display_of: Callable[[Coordinator, Any], Display] = display_of,
        run_of: Callable[..., MasterRun] = MasterRun,
        spawn: Callable[..., Any] = gevent.spawn,
        sleep: Callable[[float], Any] = gevent.sleep,
    ) -> None:
        self._environment = environment
        self._options = options
        self._workers = workers
        self._this_process = this_process
        self._early = early
        self._prepare = prepare
        self._takes_early = takes_early
        self._coordinator_of = coordinator_of
        self._display_of = display_of
        self._run_of = run_of
        self._spawn = spawn
        self._sleep = sleep
        self._prepared: Prepared | None = None
        #: The current or last run, or None if none has begun.
        self.run: MasterRun | None = None
        self._interrupts = 0

    @property
    def total_users(self) -> int:
        """Number of users for Locust to spawn: one per client of the scenario."""
        return 0 if self._prepared is None else self._prepared.given.run.totals.clients

    @property
    def current(self) -> MasterRun | None:
        """The run in progress, or None."""
        return None if self.run is None or self.run.over else self.run

    def prepare(self) -> None:
        """Load and check everything before the first user starts; on an error, say why and exit the process."""
        try:
            self._prepared = self._prepare(self._own)
        except (ScenarioError, SourceError) as error:
            self._this_process.stop(str(error), ExitCode.USAGE)
        except RunError as error:
            self._this_process.stop(str(error), error.code)

    def _own(self, server: ServerProcess) -> None:
        """Take charge of the embedded server: watch it while it runs, and stop it at the end."""
        self._this_process.own(server)
        self._spawn(self.watch_server, server)

    def begin(self) -> None:
        """Begin a run; if it cannot begin, say why and exit the process."""
        prepared = self._prepared
        assert prepared is not None
        self._interrupts = 0
        try:
            workers = self._workers.admitted(embedded=prepared.target.embedded)
            coordinator = self._coordinator_of(
                link=self._workers,
                run=prepared.given.run,
                tables=prepared.tables,
                target=prepared.target,
                place=Placement.of(self._options),
                workers=workers,
                prices=prepared.given.prices,
                budget=prepared.given.budget,
                abort_on=[AbortOn(each) for each in self._options.abort_on or ()],
                live=prepared.live.wanted,
                refused=self._workers.refused,
                storage=storage_of(self._options),
            )
        except RunError as error:
            self._this_process.stop(str(error), error.code)
        display = self._display_of(coordinator, self._options)
        run = self.run = self._run_of(
            coordinator,
            display,
            prepared.live,
            self._on_end,
            report=not self._options.no_report,
            shown=ending.shown(self._options),
            has_page=self._environment.web_ui is not None,
        )
        ending.tell(folder=str(coordinator.folder.path))
        if self._takes_early:
            coordinator.account.take(self._early)
        prepared.live.begin(coordinator)
        for info in workers:
            self._workers.begin_worker(info.worker_id, coordinator.begin(info.worker_id), prepared.tables)
        display.start()
        self._spawn(run.conduct)

    def _on_end(self, code: ExitCode) -> None:
        self._environment.process_exit_code = int(code)

    def users_of_workers(self) -> dict[str, dict[str, int]]:
        """Map each worker's Locust id to its number of users by class name, for the dispatcher that Locust uses."""
        assert self.run is not None
        coordinator = self.run.coordinator
        classes = {
            user_class.role: user_class.__name__
            for user_class in self._environment.user_classes
            if issubclass(user_class, LoadUser | EventsUser)
        }
        none = dict.fromkeys((user_class.__name__ for user_class in self._environment.user_classes), 0)
        return {
            worker_id: none
            | {classes[role]: count for role, count in coordinator.counts(worker_id).items() if count}
            for worker_id in coordinator.workers
        }

    def take(self, worker_id: str, message: Message) -> None:
        """Pass a worker's message to the coordinator, or drop it if the worker has no part in the run.

        Raises:
            ValueError: the worker may not send this message now.
        """
        if self.run is not None and worker_id in self.run.coordinator.workers:
            self.run.coordinator.receive(worker_id, message)

    # The following methods are greenlets that watch the workers and the embedded server.

    def watch_workers(self) -> None:
        """Tell the coordinator again and again which workers the master can reach; never returns."""
        while True:
            self._sleep(_WORKERS_INTERVAL_S)
            self._look_at_workers()

    def _look_at_workers(self) -> None:
        run = self.current
        if run is not None:
            for worker_id in run.coordinator.workers:
                run.coordinator.worker_here(worker_id, self._workers.in_reach(worker_id))

    def watch_server(self, server: ServerProcess) -> None:
        """End the run if the embedded server ends before this process stops it."""
        while (code := server.poll()) is None and self._this_process.server is server:
            self._sleep(_SERVER_INTERVAL_S)
        if code is None or self._this_process.server is not server:
            return
        run = self.run
        if run is not None and (run.over or run.coordinator.phase == FINISHING):
            return
        if code == 0:
            # A signal that the user sent to the run, such as Ctrl-C, has also ended the server: this is no failure.
            self.on_interrupt()
            return
        error = RunError(ending.how_it_ended("the embedded server", code), ExitCode.INCONCLUSIVE)
        if run is None:
            self._this_process.stop(str(error), error.code)
        run.coordinator.end(error)

    # The following methods end a run or the process.

    def on_interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal.

        The first signal ends the run, the second also stops its report, the third changes nothing, and the fourth ends
        the process at once. With a web UI, a signal after the end of the run closes the UI, and the process ends with
        the run's exit code.
        """
        self._interrupts += 1
        run = self.current
        if self._interrupts > 3:
            code = self._environment.process_exit_code if run is None else None
            self._this_process.exit(ExitCode.INTERRUPTED if code is None else ExitCode(code))
        if run is not None:
            run.interrupt()
            if run.closing and self._interrupts == 1:
                self._spawn(self._close_page, run)
        elif self._environment.web_ui is not None:
            if self.run is None:
                self._on_end(ExitCode.INTERRUPTED)
                ending.tell(code=int(ExitCode.INTERRUPTED))
            self._close_page(self.run)
        elif self.run is None:
            self._this_process.stop("interrupted before anything was measured", ExitCode.INTERRUPTED)

    def _close_page(self, run: MasterRun | None) -> None:
        """Close the web UI as Ctrl-C does in plain Locust, once ``run`` is over and its exit code is reported."""
        if run is not None:
            run.ended.wait()
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    def on_workers_interrupt(self) -> None:
        """Handle an ending signal that a forked worker received, unless this process has received one too."""
        if self._interrupts == 0:
            self.on_interrupt()

    def end_early(self) -> None:
        """End the current run, if any, and wait until its record is complete and its exit code is decided."""
        self._look_at_workers()
        run = self.current
        if run is not None:
            run.coordinator.interrupt()
            run.ended.wait()

    def close(self) -> None:
        """End the current run, and stop the displays and the embedded server."""
        self.end_early()
        if self._prepared is not None:
            self._prepared.live.close()
        self._this_process.stop_server()
