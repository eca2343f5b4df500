"""The Locust process of a worker whose master is another process.

The coordinator conducts a run on the master. Each worker takes part in the run through its agent.
"""

from typing import Any, Final

import gevent
from locust.env import Environment

from loadgen.exits import RunError
from loadgen.run import master_messages, messages, registration
from loadgen.run.account import Account
from loadgen.run.agent import Agent
from loadgen.run.locust import preparation, user_classes
from loadgen.run.locust.base import LocustProcess, Settings, reason_of
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.locust.worker_side import WorkerSide
from loadgen.run.messages import Message
from loadgen.run.runners import GuardedWorker

#: Names of the messages that a worker accepts.
TO_AGENTS: Final = tuple(master_messages.CODEC.known)


class WorkerProcess(LocustProcess):
    """A worker. Its messages go over Locust's connection to the master."""

    def __init__(self, settings: Settings, this_process: ThisProcess, runner: GuardedWorker) -> None:
        super().__init__(settings, this_process)
        self._runner = runner
        self.is_forked = settings.forked and "worker" not in settings.places
        self._worker = WorkerSide(
            settings.environment,
            self,
            runner.client_id,
            settings.allowed,
            # A forked worker shares the command line that chose the login. On any other worker, its own settings must
            # permit the login that the master sends: see `credentials.allowed`.
            None if self.is_forked else "the master",
            this_process,
            self._early,
            separate=True,
            forked=settings.forked,
        )

    @property
    def account(self) -> Agent | Account:
        """The object that counts failures at present: the agent during a run, else an account of earlier failures."""
        return self._early if self._worker.current is None else self._worker.current

    @property
    def past(self) -> bool:
        """True if this worker has handed over its record."""
        return self._worker.finished

    # The following methods send messages between coordinator and agents.

    def to_coordinator(self, message: Message) -> None:
        """Send a message to the coordinator."""
        messages.send(self._runner, message)

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Raise NotImplementedError: only the master sends messages to agents."""
        raise NotImplementedError(message.KIND)

    def on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Handle a Locust message of the master. Never raises."""
        try:
            self._worker.take(msg.data)
        except Exception as error:
            self._runner.faults.add("the master", msg.type, reason_of(error))

    # `install` calls the following methods.

    def register(self) -> None:
        """Register for the master's messages."""
        for kind in TO_AGENTS:
            self._runner.register_message(kind, self.on_message)

    def on_interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal: see `WorkerSide.on_interrupt`."""
        self._worker.on_interrupt()

    def watch(self) -> None:
        """Introduce this worker to the master; watch the master and, in a forked worker, the process that forked it."""
        if self.settings.options.processes:
            self._worker.watch_starter()
        try:
            registration.introduce(self._runner, self.settings.options)
        except RunError as error:
            self._this_process.stop(str(error), error.code)
        gevent.spawn(self._worker.watch_master, lambda: self._runner.last_heartbeat_timestamp)

    def prepare(self) -> None:
        """Check the user classes; the master sends the resolved run, so no scenario file is needed here."""
        try:
            user_classes.restrict(self.settings.environment, None)
        except RunError as error:
            self._this_process.stop(str(error), error.code)
        preparation.say_room(1, embedded=False)

    def begin(self) -> None:
        """Do nothing: a worker begins when it receives the master's BEGIN."""

    def end_early(self) -> None:
        """Do nothing: the master ends a run."""

    def close(self) -> None:
        """If a run is not over, hand over what this worker has recorded so far."""
        self._worker.close()
