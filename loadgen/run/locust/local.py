"""A Locust process that is master and worker.

It has the run's coordinator, which conducts the run, and its only agent, which runs the clients.
"""

import gevent

from loadgen.data.tables import Tables
from loadgen.run import messages, registration
from loadgen.run.account import Account
from loadgen.run.agent import Agent
from loadgen.run.locust.base import ProcessWithRuns, Settings
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.locust.worker_side import WorkerSide
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Message
from loadgen.run.worker_info import LOCAL, WorkerInfo


class LocalProcess(ProcessWithRuns):
    """A process that is master and worker; messages between the two go from one greenlet to another."""

    def __init__(self, settings: Settings, this_process: ThisProcess) -> None:
        super().__init__(settings, this_process, separate_workers=False)
        self._worker = WorkerSide(
            settings.environment,
            self,
            LOCAL,
            settings.allowed,
            None,
            this_process,
            self._early,
            separate=False,
            forked=False,
        )

    @property
    def account(self) -> Agent | Account:
        """The object that counts failures at present.

        This is the agent while it is recording. At other times it is the account of the current run, or, before a run,
        an account for early failures.
        """
        return super().account if self._worker.current is None else self._worker.current

    # The following methods pass messages between coordinator and agent. Each message is handled in a new greenlet: as
    # with messages over a connection, the sender must not run the receiver's code.

    def to_coordinator(self, message: Message) -> None:
        """Send a message to the coordinator."""
        gevent.spawn(self._to_master, message)

    def _to_master(self, message: Message) -> None:
        self._master.take(LOCAL, messages.checked(message))

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Send a message to the agent."""
        gevent.spawn(self._worker.take, message)

    # The following methods implement `master_side.Workers`, for this process as the only worker.

    def admitted(self, *, embedded: bool) -> list[WorkerInfo]:
        """Return the worker in this process, the only one."""
        return [registration.local()]

    def begin_worker(self, worker_id: str, begin: Begin, tables: Tables) -> None:
        """Begin the worker's part of the run before returning, because Locust starts the users right afterwards."""
        self._worker.begin(begin, tables)

    def in_reach(self, worker_id: str) -> bool:
        """Return True: the only worker is this process."""
        return True

    def refused(self) -> None:
        """Return None: this process has no port at which a connection could be refused."""
