"""A worker process without a master, for benchmarks: opens clients' connections as a run does, and records everything.

Import this module after gevent has patched the standard library.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import gevent
from gevent.pool import Pool

from analysis import without_pandas
from loadgen.measure.checks import Checks
from loadgen.measure.failures import Failure, Failures
from loadgen.measure.health import HealthSampler
from loadgen.measure.recorder import Interval, Recorder
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.appsync.target import RULES
from loadgen.protocol.base import Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import ClientPlan
from loadgen.run import worker_process
from loadgen.run.periodic import FLUSH_INTERVAL_S, every
from loadgen.run.readiness import SettledReadiness
from loadgen.run.threads import native_lock, run_in_thread
from loadgen.targets import protocol_of
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.users.connection import ClientConnection
from loadgen.users.worker import Logins, NoLogins, Progress, Readiness, Timeline, WorkerRun

# Keep pyarrow from importing pandas, which would take a second of CPU time. Workers of a run do the same.
without_pandas.spare()

# Keep gevent from recording the stack of each spawn, which would take a twentieth of the instructions of a connect.
# Workers of a run do the same.
gevent.config.track_greenlet_tree = False

TOKEN = 7
#: Number of connections that are opened at the same time.
_AT_ONCE = 50


class OurWorker:
    """Stands in for `loadgen.run.agent.Agent`, whose methods Locust users call during a run."""

    def __init__(
        self, url: str, folder: Path, recorder: type[Recorder] = Recorder, sinks: Sinks | None = None
    ) -> None:
        """Make a worker whose ``recorder`` writes into ``folder``; the API key comes from BENCH_API_KEY."""
        key = os.environ.get("BENCH_API_KEY", "da2-benchmark")
        self.service: Service
        self.rules: ProtocolRules
        if url.startswith("http"):
            self.service, self.rules = AppSyncEvents(Endpoints.from_url(url), ApiKey(key)), RULES
        else:
            protocol = protocol_of(url)
            self.service, self.rules = protocol.service(protocol.endpoints(url), None), protocol.rules
        self.stamping = Stamping()
        self.dialer = Dialer()
        self.address = Address(self.service.connect_url, self.service.tls, self.dialer)
        self.recorder: Recorder = recorder(
            TOKEN, SpoolWriter(folder, 0), run_in_thread, native_lock(), sinks or Sinks()
        )
        self.readiness: Readiness = SettledReadiness(0)
        self.progress = Progress()
        self.failures = Failures(self._on_failure)
        self.checks = Checks()
        self.most_event_bytes: int | None = None
        self.publishing_over = False
        self.stopping = False
        self._logins = NoLogins(self.service)
        self._health = HealthSampler(gevent.sleep)

    def report_error(self, reason: str, fatal: bool) -> None:
        """Print an error."""
        print(reason, file=sys.stderr)

    def _on_failure(self, failure: Failure) -> None:
        self.report_error(f"{failure.where}: {failure.message}", fatal=True)

    @property
    def run(self) -> WorkerRun:
        """This worker, with the interface `WorkerRun` as its declared type, which user classes expect."""
        return self

    @property
    def logins(self) -> Logins:
        """The source of the clients' logins: every client has the login of the service."""
        return self._logins

    def publish_channel(self, channel: str) -> str:
        """Return ``channel`` unchanged, because benchmarks write channels in their normal form."""
        return channel

    # Users call these methods to claim a client or to wait for a phase. A benchmark that needs them overrides them.

    def claim(self, role: str) -> ClientPlan | None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def wait_until(self, due_ns: int) -> None:
        """Raise NotImplementedError, unless a benchmark that publishes overrides this."""
        raise NotImplementedError

    def local_ns(self, master_ns: int) -> int:
        """Return the time unchanged, because there is no other machine."""
        return master_ns

    def master_ns(self, local_ns: int) -> int:
        """Return the time unchanged, because there is no other machine."""
        return local_ns

    def joined(self) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def left(self) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def wait_for_timeline(self) -> Timeline | None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def wait_for_end(self) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def start_at_end(self, greenlet: gevent.Greenlet) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError

    def connected(self, plans: Sequence[ClientPlan], timeout_s: float) -> list[ClientConnection]:
        """Set up this process like a worker, and open a connection for each client."""
        worker_process.set_up()
        connections = [ClientConnection(self.run, plan) for plan in plans]
        Pool(_AT_ONCE).map(lambda connection: connection.open(timeout_s), connections)
        return connections

    @contextmanager
    def flushing(self, then: Callable[[Interval], None] = lambda interval: None) -> Iterator[None]:
        """Watch the process's health and write the record each second; ``then`` gets each second's `Interval`."""

        def flush() -> None:
            for _ in every(FLUSH_INTERVAL_S):
                then(self.recorder.flush(self._health))

        gevent.spawn(self._health.watch)
        flusher = gevent.spawn(flush)
        yield
        flusher.kill()
        self.recorder.flush(self._health)

    def print_received(self) -> None:
        """Print the numbers of recorded deliveries and unreadable messages as a line of JSON."""
        said = {"deliveries": self.recorder.deliveries, "undecodable": self.recorder.undecodable.count}
        print(json.dumps(said), flush=True)
