"""The worker's side of a process: begin its part in a run, and end it when its master is gone.

The agent is a worker's part in one run (`loadgen.run.agent`).
"""

import os
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust.env import Environment

from loadgen import lifeline
from loadgen.console import say
from loadgen.credentials.allowed import Allowed
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.planning import limits
from loadgen.run import agent as agents
from loadgen.run.account import Account
from loadgen.run.agent import Agent
from loadgen.run.locust.preparation import LOADED_BY
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.locust_stats import WorkerStatistics
from loadgen.run.master_messages import Begin, Refuse, StandBy
from loadgen.run.messages import Link, Message
from loadgen.run.runners import SILENCE_S
from loadgen.run.worker_messages import Interrupted
from loadgen.transport.sources import SourceError
from loadgen.users.roles import attach

#: Time limit (s) for sending the record to the master after a signal to end, such as SIGTERM. By default, container
#: platforms kill the process 30 s after the signal.
LEAVE_PATIENCE_S: Final = 15.0
#: Time (s) that a worker has to write what it has recorded after the process that forked it has ended.
_ORPHAN_GRACE_S: Final = 0.7
_MASTER_INTERVAL_S: Final = 0.5


class WorkerSide:
    """Hold the `Agent` of this process, which is a worker, or a master and worker at once.

    ``login_from`` says who chose the target's login, as the beginning of a sentence, or is None if this process's own
    command line did. ``separate`` is True if the master is another process, ``forked`` if the master forked this one.
    Tests replace ``agent_of``, ``spawn``, ``sleep`` and ``now_s`` (wall clock, as Locust's heartbeats).
    """

    def __init__(
        self,
        environment: Environment,
        link: Link,
        worker_id: str,
        allowed: Allowed,
        login_from: str | None,
        this_process: ThisProcess,
        early: Account,
        *,
        separate: bool,
        forked: bool,
        agent_of: Callable[..., Agent] = Agent,
        spawn: Callable[..., Any] = gevent.spawn,
        sleep: Callable[[float], Any] = gevent.sleep,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._environment = environment
        self._link = link
        self._worker_id = worker_id
        self._allowed = allowed
        self._login_from = login_from
        self._this_process = this_process
        self._early = early
        self._separate = separate
        self._forked = forked
        self._agent_of = agent_of
        self._spawn = spawn
        self._sleep = sleep
        self._now_s = now_s
        #: The `Agent` that executes the current run, or executed the last one; None before the first run.
        self.agent: Agent | None = None
        self._interrupts = 0

    @property
    def current(self) -> Agent | None:
        """The agent of the run that this worker is still taking part in, or None."""
        return None if self.agent is None or self.finished else self.agent

    @property
    def finished(self) -> bool:
        """True if this worker has handed over its record."""
        return self.agent is not None and bool(self.agent.finished.is_set())

    def begin(self, begin: Begin, tables: Tables | None = None) -> None:
        """Begin this worker's part in a run; if that fails, report the failure to the master.

        ``tables`` are the run's data if this process is also the master; otherwise the master sends the rows.
        """
        try:
            agent = self.agent = self._agent_of(
                WorkerStatistics(self._environment.stats, begin.run),
                self._link,
                self._worker_id,
                begin,
                self._allowed,
                self._login_from,
                tables,
            )
            agent.failures.take(self._early.failures)
            agent.checks.take(self._early.checks)
            attach(self._environment, agent)
            limits.check_open_files(begin.sockets, 1)
            if self._separate:
                # Only a worker in a separate process checks its local ports here. A process that is also the master
                # has checked them before.
                limits.check_local_ports(
                    agent.service.connect_url,
                    begin.websockets,
                    agent.service.http_url,
                    begin.sockets - begin.websockets,
                    agent.dialer.sources,
                )
        except RunError as error:
            self._link.to_coordinator(agents.failed_status(str(error), int(error.code)))
        except SourceError as error:
            self._link.to_coordinator(agents.failed_status(str(error), int(ExitCode.USAGE)))

    def take(self, message: Message) -> None:
        """Handle a message of the master; propagates the agent's exceptions."""
        if isinstance(message, Begin):
            self.begin(message)
        elif isinstance(message, Refuse):
            say(message.reason)
            self._this_process.exit(ExitCode.USAGE)
        elif isinstance(message, StandBy):
            say(message.reason)
        elif self.agent is not None:
            self.agent.receive(message)

    # Each of the following methods runs in its own greenlet and watches the master or the parent process.

    def watch_master(self, heard_s: Callable[[], float | None]) -> None:
        """End this worker's part in the run, and then this process, if the master falls silent.

        ``heard_s`` returns the time of the master's last heartbeat (wall clock, s), or None.
        """
        while True:
            self._sleep(_MASTER_INTERVAL_S)
            at_s = heard_s()
            if at_s is None or self._now_s() - at_s <= SILENCE_S:
                continue
            if self.finished:
                # This worker's part in the run is over; only the message to quit got lost.
                self._this_process.exit(ExitCode.PASSED)
            say("the master is gone")
            if self.agent is not None:
                self.agent.leave("the master is gone", patience_s=0.0)
            self._this_process.exit(ExitCode.INCONCLUSIVE)

    def watch_starter(self) -> None:
        """End a worker forked by the master's process within a second after that process ends."""
        if os.getppid() != LOADED_BY:
            self._this_process.exit(ExitCode.INCONCLUSIVE)
        # Other threads may call only one function of an event loop: `send` of an async watcher.
        orphaned = gevent.get_hub().loop.async_()
        orphaned.start(gevent.spawn, self.abandon)
        lifeline.watch_parent(LOADED_BY, orphaned.send, _ORPHAN_GRACE_S)

    def abandon(self) -> None:
        """Write what was recorded and exit: the process that forked this one is gone."""
        if self.agent is not None:
            self.agent.abandon()
        self._this_process.exit(ExitCode.INCONCLUSIVE)

    # The following methods end this worker's part or the process.

    def on_interrupt(self) -> None:
        """Handle Ctrl-C or another signal to end.

        A worker that the master has forked asks the master to end the run. Any other worker sends its record to the
        master and exits. The third signal ends the process at once.
        """
        self._interrupts += 1
        if self.finished:
            self._this_process.exit(ExitCode.PASSED)
        if self._interrupts > 2:
            self._this_process.exit(ExitCode.INTERRUPTED)
        if self._forked:
            self._link.to_coordinator(Interrupted())
        elif self.agent is None:
            self._this_process.exit(ExitCode.INTERRUPTED)
        elif self._interrupts == 1:
            self._spawn(self._leave, self.agent)

    def _leave(self, agent: Agent) -> None:
        agent.leave("it was told to end", LEAVE_PATIENCE_S)
        self._this_process.exit(ExitCode.INTERRUPTED)

    def close(self) -> None:
        """Set the exit code of this process; if a run is under way, wait until its record has been handed over."""
        # Locust would exit with 1 if a publish failed, but the master decides how the run went.
        self._environment.process_exit_code = int(ExitCode.PASSED)
        agent = self.current
        if agent is not None:
            self._environment.process_exit_code = int(ExitCode.INTERRUPTED)
            if not self._forked:
                agent.leave("it was told to end", LEAVE_PATIENCE_S)
            agent.finished.wait(LEAVE_PATIENCE_S)
