"""The Locust process of a master whose workers are other processes.

The coordinator conducts a run on the master. Each worker takes part in the run through its agent.
"""

from typing import Any, Final

import gevent
from locust.env import Environment
from locust.runners import STATE_MISSING

from loadgen.console import say
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode
from loadgen.run import messages, registration, rows_transfer, worker_messages
from loadgen.run.locust.base import ProcessWithRuns, Settings, reason_of
from loadgen.run.locust.dispatch import dispatcher_of
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Message
from loadgen.run.runners import GuardedMaster
from loadgen.run.worker_info import WorkerInfo
from loadgen.run.worker_messages import Hello, Interrupted

#: Names of the messages that a master accepts.
TO_COORDINATOR: Final = tuple(worker_messages.CODEC.known)


class MasterProcess(ProcessWithRuns):
    """The process of a Locust master, which sends its messages over Locust's connections."""

    def __init__(self, settings: Settings, this_process: ThisProcess, runner: GuardedMaster) -> None:
        super().__init__(settings, this_process, separate_workers=True)
        self._runner = runner
        self._registry = registration.Registry(
            runner,
            settings.options,
            self.to_agents,
            lambda info: runner.faults.call(info.worker_id, info.name),
        )

    # The following methods send messages between coordinator and agents.

    def to_coordinator(self, message: Message) -> None:
        """Raise NotImplementedError: the coordinator is in this process, and only workers send messages to it."""
        raise NotImplementedError(message.KIND)

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Send a message to the agent of one worker, or of every worker if ``worker_id`` is None."""
        messages.send(self._runner, message, worker_id)

    def on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Handle a Locust message; ``msg.node_id`` identifies the connection that brought it. Never raises."""
        try:
            self.take(msg.node_id, msg.data, msg.address)
        except Exception as error:
            self._runner.faults.add(msg.node_id, msg.type, reason_of(error))

    def take(self, worker_id: str, message: Message, address: str | None = None) -> None:
        """Register the worker if the message introduces it, else pass it to the run; propagates any exception.

        Raises:
            ValueError: the worker may not send this message now.
        """
        if isinstance(message, Hello):
            current = self._master.current
            running = None if current is None else current.coordinator
            self._registry.meet(worker_id, message, running, address)
        elif isinstance(message, Interrupted):
            if not getattr(self.settings.options, "processes", None):
                raise ValueError("only a worker that this process has forked may end the run")
            self._master.on_workers_interrupt()
        else:
            self._master.take(worker_id, message)

    # The following methods implement `master_side.Workers`.

    def admitted(self, *, embedded: bool) -> list[WorkerInfo]:
        """Return the workers admitted to a run that begins now; raises RunError if too few can take part."""
        return self._registry.admitted(embedded)

    def begin_worker(self, worker_id: str, begin: Begin, tables: Tables) -> None:
        """Send a worker BEGIN, and then the rows that its publish requests draw from."""
        self.to_agents(begin, worker_id)
        for piece in rows_transfer.pieces(begin.run, tables):
            self.to_agents(piece, worker_id)

    def in_reach(self, worker_id: str) -> bool:
        """Return True if Locust has heard the worker's heartbeats lately."""
        client = self._runner.clients.get(worker_id)
        return client is not None and client.state != STATE_MISSING

    def refused(self) -> dict[str, Any] | None:
        """Return the manifest's `refused` (rejected connections and messages), or None if there are none."""
        return self._runner.refused()

    # `install` calls the following methods.

    def register(self) -> None:
        """Register for the workers' messages; make Locust start one user per client, on the client's worker."""
        for kind in TO_COORDINATOR:
            self._runner.register_message(kind, self.on_message)
        self.settings.environment.dispatcher_class = dispatcher_of(self._master.users_of_workers)

    def watch(self) -> None:
        """Watch the workers; without a web UI, also limit the wait for their arrival to --workers-timeout."""
        gevent.spawn(self._master.watch_workers)
        if not getattr(self.settings.options, "processes", None):
            say(self._registry.awaited())
        if self.settings.options.headless:
            gevent.spawn(self._watch_for_workers)

    def _watch_for_workers(self) -> None:
        """End a headless master that has not begun a run after ``--workers-timeout`` seconds."""
        gevent.sleep(self.settings.options.workers_timeout)
        if self._master.run is None:
            self._this_process.stop(self._registry.too_few(), ExitCode.INCONCLUSIVE)
