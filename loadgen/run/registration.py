"""Worker registration: admit, refuse or put on standby each worker that introduces itself to the master.

A worker introduces itself before any run. A worker of another version is refused, as its rows and messages might have
other meanings. A worker that comes after a run has begun stands by until the next.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

from gevent.event import Event

from analysis.text import clean
from loadgen.console import say
from loadgen.exits import ExitCode, RunError
from loadgen.measure.clock import boot_id
from loadgen.run import messages
from loadgen.run.coordinator import Coordinator
from loadgen.run.master_messages import Refuse, StandBy
from loadgen.run.messages import FORMAT, Message
from loadgen.run.options import WEIGHT
from loadgen.run.shares import weight_of
from loadgen.run.worker_info import LOCAL, WorkerInfo
from loadgen.run.worker_messages import Hello
from loadgen.version import VERSION

#: Bind addresses for all interfaces. A worker cannot connect to these, so it must be given an address of the machine.
_ALL_ADDRESSES = ("*", "0.0.0.0", "::")  # noqa: S104
#: Time limit for a worker to introduce itself; workers of early versions never do.
_HELLO_TIMEOUT_S = 10.0


def local() -> WorkerInfo:
    """Return the info of the worker in the master's own process."""
    return WorkerInfo(
        LOCAL, 0, hostname=socket.gethostname(), pid=os.getpid(), boot_id=boot_id(), cpus=os.cpu_count()
    )


def introduce(runner: Any, options: Any) -> None:
    """Introduce a worker to the master; raises RunError if the worker's weight is invalid."""
    weight = str(options.weight or os.environ.get(WEIGHT) or "1")
    try:
        weight_of(weight)
    except ValueError as error:
        raise RunError(f"--weight or {WEIGHT}: {error}", ExitCode.USAGE) from None
    hello = introduction(weight, _own_address(runner.master_host, runner.master_port))
    messages.send(runner, hello)


def introduction(weight: str, address: str | None) -> Hello:
    """Return the message that introduces a worker; ``address`` is the address from which it connects to the master."""
    return Hello(
        version=VERSION,
        format=FORMAT,
        weight=weight,
        hostname=socket.gethostname(),
        address=address,
        pid=os.getpid(),
        boot_id=boot_id(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )


def refusal(hello: Hello) -> str | None:
    """Return a sentence that says why a worker cannot take part in runs, or None if it can."""
    who = f"the worker on {clean(hello.hostname)} (pid {hello.pid})"
    if (hello.version, hello.format) != (VERSION, FORMAT):
        theirs, ours = clean(hello.version), VERSION
        if theirs == ours:
            theirs, ours = (
                f"{theirs} (messages {hello.format})",
                f"{ours} (messages {FORMAT})",
            )
        return f"{who} runs loadgen {theirs} and the master {ours}: it takes no part; install the same version on both"
    try:
        weight_of(hello.weight)
    except ValueError as error:
        return f"{who} takes no part: {error}"
    return None


class Registry:
    """The workers that have introduced themselves to the master, admitted or refused.

    ``to_worker`` sends a message to a worker; ``on_known`` is called with each worker when it is registered.
    """

    def __init__(
        self,
        runner: Any,
        options: Any,
        to_worker: Callable[[Message, str], None],
        on_known: Callable[[WorkerInfo], None],
    ) -> None:
        self._runner = runner
        self._options = options
        self._to_worker = to_worker
        self._on_known = on_known
        self._known: dict[str, WorkerInfo] = {}
        self._refused: set[str] = set()
        self._changed = Event()

    def meet(
        self, worker_id: str, hello: Hello, running: Coordinator | None, address: str | None = None
    ) -> None:
        """Register a worker that has introduced itself, or refuse it.

        ``worker_id`` and ``address`` are those of its connection. ``running`` is the current run, or None; a worker
        that comes during a run is told to stand by.

        Raises:
            ValueError: the worker has introduced itself already.
        """
        if worker_id in self._known or worker_id in self._refused:
            raise ValueError("it has introduced itself already")
        reason = refusal(hello)
        if reason is not None:
            self._refuse(worker_id, reason)
            return
        info = WorkerInfo(
            worker_id=worker_id,
            worker=len(self._known),
            weight=weight_of(hello.weight),
            hostname=clean(hello.hostname),
            # Trust the address that the worker states only if the connection's address is unknown.
            address=address or hello.address,
            pid=hello.pid,
            boot_id=hello.boot_id,
            cpus=hello.cpus,
        )
        self._known[worker_id] = info
        self._on_known(info)
        self._changed.set()
        if running is not None:
            if worker_id not in running.workers:
                running.worker_late(info)
                reason = f"{info.name} came after the run had begun: it stands by and takes no part in it"
                say(reason)
                self._to_worker(StandBy(reason=reason), worker_id)
        elif not getattr(self._options, "processes", None):
            of = f" of {self._options.expect_workers}" if self._options.headless else ""
            say(f"{info.name} is here with weight {float(info.weight):g}: {len(self._known)}{of}")

    def admitted(self, embedded: bool) -> list[WorkerInfo]:
        """Wait until all connected workers have introduced themselves; return those admitted, ordered by number.

        Raises:
            RunError: too few workers can take part, or a worker on another machine cannot reach the embedded server,
                which listens on loopback.
        """
        ready = [client.id for client in self._runner.clients.ready]
        for _ in range(int(_HELLO_TIMEOUT_S / 0.1)):
            if all(worker_id in self._known or worker_id in self._refused for worker_id in ready):
                break
            self._changed.clear()
            self._changed.wait(0.1)
        for worker_id in ready:
            if worker_id not in self._known and worker_id not in self._refused:
                self._refuse(
                    worker_id,
                    f"worker {worker_id} did not say which version it is: it takes no part; install version"
                    f" {VERSION} as here",
                )
        taking = [self._known[worker_id] for worker_id in ready if worker_id in self._known]
        if not taking or (self._options.headless and len(taking) < self._options.expect_workers):
            raise RunError(
                f"only {len(taking)} of {self._options.expect_workers} workers can take part", ExitCode.USAGE
            )
        here = boot_id()
        for info in taking if embedded else ():
            if info.boot_id != here:
                raise RunError(
                    f"{info.name} is on another machine and cannot reach the embedded server, which listens on"
                    " loopback: start `loadgen serve --host ADDRESS` and name it with --target",
                    ExitCode.USAGE,
                )
        return sorted(taking, key=lambda info: info.worker)

    def awaited(self) -> str:
        """Return a sentence that says which workers this master waits for, and how to start them."""
        options = self._options
        count = f"{options.expect_workers} " if options.headless else ""
        noun = "worker" if count == "1 " else "workers"
        host = options.master_bind_host
        known = f" --master-host {'ADDRESS' if host in _ALL_ADDRESSES else host}"
        port = "" if options.master_bind_port == 5557 else f" --master-port {options.master_bind_port}"
        return (
            f"waiting for {count}{noun} at {host}:{options.master_bind_port}: start"
            f" {'it' if noun == 'worker' else 'each'} with `loadgen run --worker{known}{port}`"
        )

    def too_few(self) -> str:
        """Return the error for expected workers that did not come in time."""
        options = self._options
        return (
            f"{len(self._known)} of {options.expect_workers} workers came within {options.workers_timeout:g} s:"
            f" start the others, check that they reach port {options.master_bind_port} here,"
            " or wait longer with --workers-timeout"
        )

    def _refuse(self, worker_id: str, reason: str) -> None:
        self._refused.add(worker_id)
        self._changed.set()
        self._runner.clients.pop(worker_id, None)
        say(reason)
        self._to_worker(Refuse(reason=reason), worker_id)


def _own_address(host: str, port: int) -> str | None:
    """Return the address from which this machine reaches ``host``, or None if unknown.

    Connecting a datagram socket makes the kernel choose the address, and sends nothing.
    """
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind, proto) as probe:
                probe.connect(address)
                own: str = probe.getsockname()[0]
                return own
    except OSError:
        pass
    return None
