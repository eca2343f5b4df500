"""Connect one Locust process to a run: own its coordinator, its agent or both, and carry their messages."""

import copy
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gevent
import psutil
from gevent.event import Event
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from loadgen import lifeline
from loadgen.config.problems import ScenarioError
from loadgen.console import say
from loadgen.credentials.allowed import Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode, RunError
from loadgen.live.service import LiveService
from loadgen.measure.failures import message_of
from loadgen.planning import limits
from loadgen.run import agent as agents
from loadgen.run import ending, master_messages, messages, preparation, target, user_classes, worker_messages
from loadgen.run import registration as joining
from loadgen.run.account import Account
from loadgen.run.agent import Agent
from loadgen.run.coordinator import FINISHING, Coordinator
from loadgen.run.display import ProgressDisplay
from loadgen.run.ending import Ending
from loadgen.run.handover import Handover
from loadgen.run.locust_stats import WorkerStatistics
from loadgen.run.master_messages import Begin, Refuse, StandBy
from loadgen.run.messages import Message
from loadgen.run.preparation import LOADED_BY
from loadgen.run.runners import faults, refused
from loadgen.run.worker_messages import Hello, Interrupted
from loadgen.server.process import ServerProcess
from loadgen.transport import proxy, sources
from loadgen.users.roles import LoadUser, attach

#: Names of the messages that each side takes.
TO_COORDINATOR = tuple(worker_messages.CODEC.known)
TO_AGENTS = tuple(master_messages.CODEC.known)

#: A master that is silent for this long counts as gone; it sends a heartbeat every second.
MASTER_SILENCE_S = 10.0
#: Time for an orphaned worker to write what it has recorded.
_ORPHAN_GRACE_S = 0.7
_SERVER_INTERVAL_S = 0.1
#: Time for a worker that is told to end to hand over its record; container platforms wait 30 s by default.
_LEAVE_PATIENCE_S = 15.0


class Controller:
    """Own the coordinator and the agent of one Locust process, and be the link between them."""

    def __init__(self, environment: Environment, places: Mapping[str, str] = MappingProxyType({})) -> None:
        self.environment = environment
        #: File or environment variable of each option that is set, but not on the command line: see `locust_settings`.
        self.places = places
        # Any: Locust's own types leave open which runner it is.
        self.runner: Any = environment.runner
        # A copy: Locust's web form writes into its own.
        self.options: Any = copy.copy(environment.parsed_options)
        proxy.switch_off(getattr(self.options, "no_proxy", False))
        try:
            #: Permissions on this process's own command line. Read now: Locust later replaces a worker's options
            #: with those of its master.
            self.allowed = Allowed.of_options(self.options)
        except CredentialError as error:
            say(str(error))
            os._exit(ExitCode.USAGE)
        self.coordinator: Coordinator | None = None
        self.agent: Agent | None = None
        #: The run and its budget; set on a master.
        self.given: Handover | None = None
        self.target: target.Target | None = None
        self.server: ServerProcess | None = None
        self.live: LiveService | None = None
        #: The worker registry of a master.
        self.registry = joining.Registry(self.runner, self.options, self.to_agents)
        if isinstance(self.runner, MasterRunner):
            faults.name_of = self.registry.name_of
        self._display: ProgressDisplay | None = None
        #: Number of users for Locust to spawn: one per client of the scenario.
        self.total_users = 0
        self._interrupts = 0
        #: Set when a run is over and its exit code is decided.
        self.ended = Event()
        #: Failures and checks of the user's code from before a run; the next run takes them over.
        self._early = Account()

    @property
    def over(self) -> bool:
        """True if the last run is over."""
        return bool(self.ended.is_set())

    @property
    def account(self) -> Agent | Account:
        """The object that takes failures and checks of the user's code now."""
        if self.agent is not None and not self.agent.finished.is_set():
            return self.agent
        if self.coordinator is not None and not self.over:
            return self.coordinator.account
        return self._early

    @property
    def past(self) -> bool:
        """True if the run of this process is over and its record is closed."""
        if isinstance(self.runner, WorkerRunner):
            return self.agent is not None and self.agent.finished.is_set()
        return self.coordinator is not None and (self.over or self.coordinator.done.is_set())

    def _take_early(self, account: Agent | Account) -> None:
        account.failures.take(self._early.failures)
        account.checks.take(self._early.checks)

    # The link.

    def to_coordinator(self, message: Message) -> None:
        """Send a message to the coordinator: over Locust, or directly if it lives in this process."""
        if isinstance(self.runner, WorkerRunner):
            messages.send(self.runner, message)
        else:
            # In another greenlet, as for a real message: the caller must not run the coordinator's code.
            gevent.spawn(self._receive_here, message)

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Send a message to one agent, or to all if ``worker_id`` is None."""
        if isinstance(self.runner, MasterRunner):
            messages.send(self.runner, message, worker_id)
        else:
            gevent.spawn(self._from_coordinator, message)

    def _receive_here(self, message: Message) -> None:
        self._from_agent("local", messages.checked(message))

    def on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Handle a Locust message; ``msg.node_id`` identifies the connection that brought it. Never raises."""
        try:
            if isinstance(self.runner, MasterRunner):
                self._from_agent(msg.node_id, msg.data, msg.address)
            else:
                self._from_coordinator(msg.data)
        except Exception as error:
            told = str(error) if isinstance(error, ValueError) else message_of(error)
            sender = msg.node_id if isinstance(self.runner, MasterRunner) else "the master"
            faults.add(sender, msg.type, told)

    def _from_agent(self, worker_id: str, message: Message, address: str | None = None) -> None:
        """Pass a worker's message to the coordinator; propagates its exceptions."""
        coordinator = self.coordinator
        if isinstance(message, Hello):
            self.registry.meet(worker_id, message, coordinator if not self.over else None, address)
        elif isinstance(message, Interrupted):
            if not getattr(self.options, "processes", None):
                raise ValueError("only a worker that this process has forked may end the run")
            if self._interrupts == 0:
                self.on_interrupt()
        elif coordinator is not None and worker_id in coordinator.workers:
            coordinator.receive(worker_id, message)

    def _from_coordinator(self, message: Message) -> None:
        """Pass a message of the master to the agent; propagates its exceptions."""
        if isinstance(message, Begin):
            self._begin_agent(message)
        elif isinstance(message, Refuse):
            say(message.reason)
            os._exit(ExitCode.USAGE)
        elif isinstance(message, StandBy):
            say(message.reason)
        elif self.agent is not None:
            self.agent.receive(message)

    # Called by Locust.

    def prepare(self) -> None:
        """Load and check everything before the first user starts; on an error, say why and exit the process."""
        try:
            if isinstance(self.runner, WorkerRunner):
                # The master sends the resolved run and the number of users per role: no scenario file is needed here.
                user_classes.restrict(self.environment, None)
                preparation.say_room(1, embedded=False)
                return
            prepared = preparation.Preparation(
                self.environment,
                self.options,
                self.places,
                self.allowed,
                separate_workers=isinstance(self.runner, MasterRunner),
                on_server=self._own,
            ).prepared()
        except ScenarioError as error:
            self.stop_process(str(error), ExitCode.USAGE)
        except RunError as error:
            self.stop_process(str(error), error.code)
        except sources.SourceError as error:
            self.stop_process(str(error), ExitCode.USAGE)
        else:
            self.given, self.target, self.live = prepared.given, prepared.target, prepared.live
            self.total_users = prepared.given.run.totals.clients

    def _own(self, server: ServerProcess) -> None:
        """Take charge of the embedded server: watch it while it runs, and stop it at the end."""
        self.server = server
        gevent.spawn(self.watch_server, server)

    def test_start(self) -> None:
        """Begin a run; do nothing on a worker, which begins with the master's BEGIN."""
        if isinstance(self.runner, WorkerRunner):
            return
        assert self.given is not None
        assert self.target is not None
        self.ended.clear()
        self._interrupts = 0
        options = self.options
        try:
            workers = [joining.local()]
            if isinstance(self.runner, MasterRunner):
                workers = self.registry.admitted(embedded=self.target.embedded)
            coordinator = Coordinator(
                self,
                self.given.run,
                self.target,
                Path(options.results),
                workers,
                self.given.prices,
                self.given.budget,
                live=self.live is not None and self.live.wanted,
                refused=refused if isinstance(self.runner, MasterRunner) else lambda: None,
            )
        except RunError as error:
            self.stop_process(str(error), error.code)
            return
        self.coordinator = coordinator
        ending.tell(folder=str(coordinator.folder.path))
        if isinstance(self.runner, MasterRunner):
            self._take_early(coordinator.account)
        if self.live is not None:
            self.live.begin(coordinator)
        for info in workers:
            begin = coordinator.begin(info.worker_id)
            if isinstance(self.runner, MasterRunner):
                self.to_agents(begin, info.worker_id)
            else:
                self._begin_agent(begin)
        self._display = ProgressDisplay(coordinator)
        self._display.start()
        gevent.spawn(self._conduct, coordinator)

    def users_of_workers(self) -> dict[str, dict[str, int]]:
        """Return the number of users by class name, for each worker by its Locust id; for `dispatch`."""
        assert self.coordinator is not None
        classes = {
            user_class.role: user_class.__name__
            for user_class in self.environment.user_classes
            if issubclass(user_class, LoadUser)
        }
        none = dict.fromkeys((user_class.__name__ for user_class in self.environment.user_classes), 0)
        return {
            worker_id: none
            | {classes[role]: count for role, count in self.coordinator.counts(worker_id).items() if count}
            for worker_id in self.coordinator.workers
        }

    # The run.

    def _conduct(self, coordinator: Coordinator) -> None:
        found = Ending()
        try:
            coordinator.run()
            found = self._conclude(coordinator)
        finally:
            self._hide_displays()
            self.environment.process_exit_code = int(found.code)
            ending.tell(code=int(found.code))
            self.ended.set()

    def _conclude(self, coordinator: Coordinator) -> Ending:
        """Make the report of a run whose record is complete, and return how the run ended."""
        self._hide_displays()
        folder, manifest = coordinator.folder.path, coordinator.manifest
        if manifest.reason:
            say(manifest.reason)
        analysis = ending.Analysis()
        if coordinator.unwritten is None:
            analysis = ending.analyse(
                folder,
                report=not self.options.no_report,
                cancelled=lambda: self._interrupts > 1,
                sleep=gevent.sleep,
            )
        interrupted = self._interrupts > 0
        found = ending.decide(folder, coordinator.exit_code, analysis, interrupted, coordinator.unwritten)
        for sentence in found.sentences:
            say(sentence)
        return found

    def _hide_displays(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None
        if self.live is not None:
            self.live.end()

    def _begin_agent(self, begin: Begin) -> None:
        worker_id = self.runner.client_id if isinstance(self.runner, WorkerRunner) else "local"
        try:
            sources.use(sources.Sources.from_environment())
            # A worker takes no secret and no command from another process's command line: see `credentials.allowed`.
            is_own = not isinstance(self.runner, WorkerRunner) or self.is_forked
            login_from = None if is_own else "the master"
            statistics = WorkerStatistics(self.environment.stats, begin.run)
            self.agent = Agent(statistics, self, worker_id, begin, self.allowed, login_from)
            self._take_early(self.agent)
            attach(self.environment, self.agent)
            limits.check_open_files(begin.sockets, 1)
            if self.coordinator is None:
                # Only on workers: a master that has an agent itself checked its ports before the run.
                service, http = self.agent.service, begin.sockets - begin.websockets
                limits.check_local_ports(
                    service.connect_url,
                    begin.websockets,
                    service.http_url,
                    http,
                    sources.process_sources,
                )
        except RunError as error:
            self.to_coordinator(agents.failed_status(str(error), int(error.code)))
        except sources.SourceError as error:
            self.to_coordinator(agents.failed_status(str(error), int(ExitCode.USAGE)))

    def watch_for_workers(self) -> None:
        """End a headless master that has not begun a run after ``--workers-timeout`` seconds."""
        gevent.sleep(self.options.workers_timeout)
        if self.coordinator is None:
            self.stop_process(self.registry.too_few(), ExitCode.INCONCLUSIVE)

    def watch_workers(self) -> None:
        """Tell the coordinator which workers are in reach; loops forever, on the master."""
        while True:
            gevent.sleep(0.5)
            coordinator = self.coordinator
            if coordinator is None or self.over:
                continue
            for worker_id in coordinator.workers:
                coordinator.worker_here(worker_id, self._in_reach(worker_id))

    def _in_reach(self, worker_id: str) -> bool:
        client = self.runner.clients.get(worker_id)
        return client is not None and client.state != STATE_MISSING

    def watch_master(self) -> None:
        """End a worker's part and its process when the master falls silent, as no message would end it."""
        while True:
            gevent.sleep(0.5)
            heard_s = self.runner.last_heartbeat_timestamp
            if heard_s is None or time.time() - heard_s <= MASTER_SILENCE_S:
                continue
            if self.agent is not None and self.agent.finished.is_set():
                # This worker's part is done; only the message to quit got lost.
                os._exit(ExitCode.PASSED)
            say("the master is gone")
            if self.agent is not None:
                self.agent.leave("the master is gone", patience_s=0.0)
            os._exit(ExitCode.INCONCLUSIVE)

    def watch_starter(self) -> None:
        """End a worker forked by the master's process within a second after that process ends."""
        if os.getppid() != LOADED_BY:
            os._exit(ExitCode.INCONCLUSIVE)
        # `send` of an async watcher is the one call of an event loop that another thread may make.
        orphaned = gevent.get_hub().loop.async_()
        orphaned.start(gevent.spawn, self._abandon)
        lifeline.watch_parent(LOADED_BY, orphaned.send, _ORPHAN_GRACE_S)

    def _abandon(self) -> None:
        if self.agent is not None:
            self.agent.abandon()
        os._exit(ExitCode.INCONCLUSIVE)

    def watch_server(self, server: ServerProcess) -> None:
        """End the run if the embedded server ends before this process stops it."""
        while (code := server.poll()) is None and self.server is server:
            gevent.sleep(_SERVER_INTERVAL_S)
        coordinator = self.coordinator
        if code is None or self.server is not server or self.over:
            return
        if coordinator is not None and coordinator.phase == FINISHING:
            return
        if code == 0:
            # A signal ended the server, and was meant for the run.
            self.on_interrupt()
            return
        error = RunError(ending.how_it_ended("the embedded server", code), ExitCode.INCONCLUSIVE)
        if coordinator is None:
            self.stop_process(str(error), error.code)
        else:
            coordinator.end(error)

    def end_early(self) -> None:
        """End the current run, if any, and wait until its record is complete and its exit code is decided."""
        coordinator = self.coordinator
        if coordinator is not None and not self.over:
            if isinstance(self.runner, MasterRunner):
                for worker_id in coordinator.workers:
                    coordinator.worker_here(worker_id, self._in_reach(worker_id))
            coordinator.interrupt()
            self.ended.wait()

    def on_interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal on a master or in a single process.

        The first ends the run, the second also stops its report, the fourth kills the process.
        """
        self._interrupts += 1
        coordinator = self.coordinator
        if self._interrupts > 3:
            os._exit(ExitCode.INTERRUPTED)
        if coordinator is not None and not self.over:
            if coordinator.phase == FINISHING and self._interrupts == 1:
                say("interrupted: the report is still being made; Ctrl-C once more stops that")
            coordinator.interrupt()
        elif self.environment.web_ui is not None:
            # Nothing runs: do what Ctrl-C does in plain Locust. The last run has already told its exit code.
            if coordinator is None:
                self.environment.process_exit_code = int(ExitCode.INTERRUPTED)
                ending.tell(code=int(ExitCode.INTERRUPTED))
            gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())
        elif coordinator is None:
            self.stop_process("interrupted before anything was measured", ExitCode.INTERRUPTED)

    def on_worker_interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal on a worker.

        A worker that the master has forked asks the master to end the run; any other leaves the run. The third signal
        kills the process.
        """
        self._interrupts += 1
        if self.agent is not None and self.agent.finished.is_set():
            os._exit(ExitCode.PASSED)
        if self._interrupts > 2:
            os._exit(ExitCode.INTERRUPTED)
        if self.forked_by_master:
            self.to_coordinator(Interrupted())
        elif self.agent is None:
            os._exit(ExitCode.INTERRUPTED)
        elif self._interrupts == 1:
            gevent.spawn(self._leave)

    def _leave(self) -> None:
        assert self.agent is not None
        self.agent.leave("it was told to end", _LEAVE_PATIENCE_S)
        os._exit(ExitCode.INTERRUPTED)

    @property
    def is_forked(self) -> bool:
        """True if this worker was forked by the master's process, so that both have one command line."""
        is_worker = isinstance(self.runner, WorkerRunner)
        return is_worker and self.forked_by_master and "worker" not in self.places

    @property
    def forked_by_master(self) -> bool:
        """True if `--processes` made this worker beside the master."""
        return bool(getattr(self.options, "processes", None)) and "--worker" not in sys.argv

    def close(self) -> None:
        """End the current run and stop what was started; a worker hands over its record first."""
        if isinstance(self.runner, WorkerRunner):
            # Locust would exit with 1 if a publish failed, but the master decides how the run went.
            self.environment.process_exit_code = int(ExitCode.PASSED)
            if self.agent is not None and not self.agent.finished.is_set():
                self.environment.process_exit_code = int(ExitCode.INTERRUPTED)
                if not self.forked_by_master:
                    self.agent.leave("it was told to end", _LEAVE_PATIENCE_S)
                self.agent.finished.wait(_LEAVE_PATIENCE_S)
        self.end_early()
        if self.live is not None:
            self.live.close()
        if self.server is not None:
            server, self.server = self.server, None
            server.stop()

    def stop_process(self, reason: str, code: ExitCode) -> None:
        """Print why and exit the process at once; call it only when no run has begun."""
        say(reason)
        ending.tell(code=int(code))
        # Workers forked by `--processes` would wait a minute for a master that is gone.
        for child in psutil.Process().children():
            if self.server is None or child.pid != self.server.pid:
                child.kill()
        if self.server is not None:
            server, self.server = self.server, None
            server.stop()
        sys.stdout.flush()
        os._exit(code)
