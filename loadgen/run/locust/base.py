"""Base classes of the three kinds of Locust process: master, worker, and a single process that is both.

They hold the process's settings and define the methods that `loadgen.run.locust.install` calls. The coordinator
conducts a run on the master. Each worker takes part in the run through its agent.
"""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from locust import LoadTestShape
from locust.env import Environment

from loadgen.credentials.allowed import Allowed
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode
from loadgen.measure.failures import message_of
from loadgen.run.account import Account
from loadgen.run.agent import Agent
from loadgen.run.locust.master_side import MasterSide
from loadgen.run.locust.preparation import Preparation, Prepared
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Message
from loadgen.run.worker_info import WorkerInfo
from loadgen.server.process import ServerProcess


@dataclass
class Settings:
    """The settings of one Locust process.

    ``places`` maps each option that a file or environment variable sets to the name of that file or variable: see
    `locust_settings`. ``allowed`` are the permissions given on this process's own command line.
    """

    environment: Environment
    # Any: Locust leaves the type of its options open.
    options: Any
    places: Mapping[str, str]
    allowed: Allowed
    #: The load shape of the locustfile itself, or None.
    shape: LoadTestShape | None = None

    @classmethod
    def of(cls, environment: Environment, places: Mapping[str, str]) -> "Settings":
        """Return the starting process's settings; raises CredentialError if --allow-env, for example, is invalid."""
        # Copy the options now: the web form changes them later, and a master's options replace a worker's.
        options: Any = copy.copy(environment.parsed_options)
        return cls(environment, options, places, Allowed.of_options(options))

    @property
    def forked(self) -> bool:
        """True if `--processes` forks the workers from the master's process."""
        return bool(getattr(self.options, "processes", None)) and "--worker" not in sys.argv

    def prepare(self, on_server: Callable[[ServerProcess], None], *, separate_workers: bool) -> Prepared:
        """Prepare a run: see `Preparation`."""
        return Preparation(
            self.environment,
            self.options,
            self.places,
            self.allowed,
            separate_workers=separate_workers,
            on_server=on_server,
            shape=self.shape,
        ).prepared()


class LocustProcess(ABC):
    """Base class of Locust's processes (master, worker, or both in one); `install` calls the methods in this order."""

    #: True if this is a worker that was forked from the master's process, so that both share a command line.
    is_forked = False

    def __init__(self, settings: Settings, this_process: ThisProcess) -> None:
        self.settings = settings
        #: Failures and checks of the user's code from before a run; they are added to those of the next run.
        self._early = Account()
        self._this_process = this_process

    @property
    @abstractmethod
    def account(self) -> Agent | Account:
        """The object that counts the failures and checks of the user's code at present."""

    @property
    @abstractmethod
    def past(self) -> bool:
        """True if the run of this process is over and its record is closed."""

    def stop_process(self, reason: str, code: ExitCode) -> None:
        """Print ``reason`` and exit the process at once; call this only before a run has begun."""
        self._this_process.stop(reason, code)

    @property
    def runs(self) -> MasterSide | None:
        """The `MasterSide` of this process, which prepares, begins and ends runs, or None on a worker."""
        return None

    def register(self) -> None:  # noqa: B027  a process without messages registers nothing
        """Register for the messages of the other processes."""

    @abstractmethod
    def on_interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal."""

    def watch(self) -> None:  # noqa: B027
        """Start the greenlets that watch the other processes."""

    @abstractmethod
    def prepare(self) -> None:
        """Load and check everything before the first user starts; on an error, say why and exit the process."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a run if this process conducts runs; called when Locust starts a test."""

    @abstractmethod
    def end_early(self) -> None:
        """End the current run, if any; called when Locust stops a test."""

    @abstractmethod
    def close(self) -> None:
        """End the current run and stop everything that was started; called when Locust quits."""


class ProcessWithRuns(LocustProcess):
    """A process that conducts runs: a master, or a process that is master and worker.

    Its `MasterSide` conducts them, and reaches the workers by the methods of `master_side.Workers`.
    """

    def __init__(self, settings: Settings, this_process: ThisProcess, *, separate_workers: bool) -> None:
        super().__init__(settings, this_process)
        self._master = MasterSide(
            settings.environment,
            settings.options,
            self,
            this_process,
            self._early,
            partial(settings.prepare, separate_workers=separate_workers),
            takes_early=separate_workers,
        )

    @property
    def account(self) -> Agent | Account:
        """The current run's account, else the account for failures from before a run."""
        return self._early if self._master.current is None else self._master.current.coordinator.account

    @property
    def past(self) -> bool:
        """True if the run is over and its record is closed."""
        return self._master.run is not None and self._master.run.past

    @property
    def runs(self) -> MasterSide:
        """The `MasterSide` of this process, which prepares, begins and ends runs."""
        return self._master

    # The following methods are those of `master_side.Workers`.

    @abstractmethod
    def to_coordinator(self, message: Message) -> None:
        """Send a message to the coordinator."""

    @abstractmethod
    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Send a message to the agent of one worker, or of every worker if ``worker_id`` is None."""

    @abstractmethod
    def admitted(self, *, embedded: bool) -> list[WorkerInfo]:
        """Return the workers for a run that begins now; raises RunError if there are too few."""

    @abstractmethod
    def begin_worker(self, worker_id: str, begin: Begin, tables: Tables) -> None:
        """Begin a worker's part in a run; ``tables`` are the run's data."""

    @abstractmethod
    def in_reach(self, worker_id: str) -> bool:
        """Return True if the worker can be reached."""

    @abstractmethod
    def refused(self) -> dict[str, Any] | None:
        """Return the manifest's `refused` (rejected connections and messages), or None if there are none."""

    # `install` calls the following methods.

    def on_interrupt(self) -> None:
        """End the run because of an interrupt; see `MasterSide.on_interrupt`."""
        self._master.on_interrupt()

    def prepare(self) -> None:
        """Prepare a run; if it cannot begin, exit the process."""
        self._master.prepare()

    def begin(self) -> None:
        """Begin a run; if it cannot begin, exit the process."""
        self._master.begin()

    def end_early(self) -> None:
        """End the current run and wait until its exit code is decided."""
        self._master.end_early()

    def close(self) -> None:
        """End the current run; stop the displays and the embedded server."""
        self._master.close()


def reason_of(error: Exception) -> str:
    """Return why a message could not be handled, for the list of rejected messages."""
    return str(error) if isinstance(error, ValueError) else message_of(error)
