"""Locust's master and worker runners, hardened: on encrypted, bounded sockets (see `wire`), with checked messages.

:func:`install` replaces Locust's own runner classes; call it before Locust creates a runner.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import gevent
import locust.env
import locust.runners
import msgspec
from locust.exception import RPCError
from locust.rpc.protocol import Message
from locust.runners import STATE_STOPPED, MasterRunner, WorkerRunner

from analysis.text import clean
from loadgen.console import say
from loadgen.exits import ExitCode, RunError
from loadgen.run import join, locust_messages, master_messages, wire, worker_messages
from loadgen.run.connections import MOST_UNREAD, Connections
from loadgen.run.ending import exit_process
from loadgen.run.keyless import beyond_loopback, needs_key, worker_needs_key
from loadgen.run.locust_options import OF_LOCUST
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER
from loadgen.run.reaching import reaching

#: Number of distinct faults that are printed; all are counted.
_MOST_SAID: Final = 20
#: Maximum number of worker ids that a master accepts in all, since Locust never forgets one.
_MOST_WORKERS: Final = 10_000
#: Maximum number of rows of Locust's statistics and errors, and of tracebacks, that a master keeps.
_MOST_ROWS: Final = 2_000
_LOOK_S: Final = 0.2
#: Time (s) without a message after which a master and a worker count each other as gone; both send a heartbeat every
#: second. Locust's own master waits for 4 s only, but a healthy worker may be silent for that long if all cores are
#: taken.
SILENCE_S: Final = 10.0
#: Shortest time between two warnings about rejected connections to the master's port; the first comes at once.
_TELL_S: Final = 60.0
#: Longest wait for the end of a test whose workers have stopped.
_ENDING_S: Final = 70.0
#: Keys for workers that `--processes` forks from this process; the workers inherit the keys in memory.
_inherited: Final = join.make()


class Faults:
    """Counts all rejected messages, and prints each kind of fault once for each peer."""

    def __init__(self) -> None:
        #: Number of rejected messages by the sentence that says what is wrong.
        self.counts: Counter[str] = Counter()
        self._said = 0
        self._names: dict[str, str] = {}

    def call(self, sender: str, name: str) -> None:
        """Call the peer ``sender`` by ``name`` in the sentences printed from now on."""
        self._names[sender] = name

    def add(self, sender: str, kind: str, reason: str) -> None:
        """Count a rejected message of type ``kind``, and print the fault if it is new."""
        plain = sender if sender.startswith(("the ", "this ")) else f"worker {sender}"
        sentence = f"{clean(self._names.get(sender, plain))} sent a {clean(kind)!s} that is not taken: {clean(reason)}"
        new = sentence not in self.counts
        if new and len(self.counts) >= _MOST_ROWS:
            sentence, new = "messages of other kinds were not taken", False
        self.counts[sentence] += 1
        if new and self._said < _MOST_SAID:
            self._said += 1
            say(sentence)


def install() -> None:
    """Make Locust create these runners, and wait `SILENCE_S` for a silent worker; idempotent."""
    # Locust decrements a peer's liveness once per interval, and counts the peer as missing when the liveness is below
    # 0.
    locust.runners.HEARTBEAT_LIVENESS = round(SILENCE_S / locust.runners.HEARTBEAT_INTERVAL) - 1
    locust.env.MasterRunner = GuardedMaster  # type: ignore[attr-defined]
    locust.env.WorkerRunner = GuardedWorker  # type: ignore[attr-defined]


class GuardedMaster(MasterRunner):
    """Locust's master with a check of each message: a worker's connection cannot send messages for another worker."""

    def __init__(self, environment: Any, master_bind_host: str, master_bind_port: int) -> None:
        options = environment.parsed_options
        #: The workers' messages that this master has rejected. `_connections` counts the rejected connections to its
        #: port.
        self.faults = Faults()
        self._connections = Connections()
        key = _or_exit(lambda: master_key(options))
        if key is None and beyond_loopback(master_bind_host):
            exit_process(needs_key(master_bind_host), ExitCode.USAGE)
        _sockets(
            Server=lambda host, port: wire.MasterSocket(
                host, port, key, self._from_worker, self.faults.add, self._connections
            )
        )
        try:
            super().__init__(environment, master_bind_host, master_bind_port)
        except RPCError as error:
            exit_process(
                f"the master cannot listen at {master_bind_host}:{master_bind_port} ({error}): stop what uses the port,"
                " or choose another with --master-bind-port",
                ExitCode.USAGE,
            )
        self.greenlet.spawn(self._tell_of_strangers, master_bind_port, key is not None)

    def start_shape(self) -> None:
        """Start a test once the previous test has ended completely.

        Locust's state is "stopped" as soon as its workers have stopped. The test's greenlet ends up to a second later,
        and until then Locust would ignore a start.
        """
        ending: Any = self.shape_greenlet
        if ending is not None and self.state == STATE_STOPPED:
            ending.join(_ENDING_S)
        super().start_shape()

    def refused(self) -> dict[str, Any] | None:
        """Return the manifest's `refused` (connections by address, messages by sentence), or None if there are none."""
        connections = self._connections
        if not connections.strangers and not connections.hoards and not self.faults.counts:
            return None
        return {
            "strangers": dict(connections.strangers),
            "hoards": dict(connections.hoards),
            "messages": dict(self.faults.counts),
        }

    def _from_worker(self, kind: str, raw: msgspec.Raw) -> Any:
        message = worker_messages.decoded(kind, raw)
        return (
            message if message is not None else locust_messages.from_worker(kind, raw, self.custom_messages)
        )

    def handle_message(self, client_id: str, msg: Message) -> None:
        """Pass Locust a message if this worker may send it now; count any error in handling it as a fault.

        Raises:
            RPCError: the socket is broken.
        """
        try:
            if self._may(client_id, msg):
                super().handle_message(client_id, msg)
        except RPCError:
            raise
        except Exception as error:
            self.faults.add(client_id, msg.type, f"{type(error).__name__}: {error}")

    def _may(self, client_id: str, msg: Message) -> bool:
        if msg.type == "client_ready":
            if client_id not in self.worker_indexes and len(self.worker_indexes) >= _MOST_WORKERS:
                self.faults.add("(one more)", msg.type, f"{_MOST_WORKERS:,} workers have come already")
                return False
            return True
        if msg.type in self.custom_messages:
            return True
        known = client_id in self.clients
        if msg.type == "stats" and known:
            self._make_room(msg.data)
        elif msg.type == "exception" and known:
            return len(self.exceptions) < _MOST_ROWS or hash(msg.data["traceback"]) in self.exceptions
        elif msg.type == "logs":
            msg.data["worker_id"] = client_id
        # Locust itself would accept statistics, exceptions and logs from unknown workers.
        return known or msg.type in ("heartbeat", "spawning", "spawning_complete", "client_stopped", "quit")

    def _make_room(self, data: Any) -> None:
        """Drop statistics with new names once the master has `_MOST_ROWS` statistics; treat errors alike."""
        free = _MOST_ROWS - len(self.stats.entries)
        kept = []
        for entry in data["stats"]:
            new = (entry["name"], entry["method"]) not in self.stats.entries
            if not new or free > 0:
                kept.append(entry)
                free -= new
        data["stats"] = kept
        room = max(0, _MOST_ROWS - len(self.stats.errors))
        fresh = [key for key in data["errors"] if key not in self.stats.errors]
        for key in fresh[room:]:
            del data["errors"][key]

    def _tell_of_strangers(self, port: int, keyed: bool) -> NoReturn:
        connections, told, quiet_s, hoards = self._connections, 0, 0.0, 0
        while True:
            gevent.sleep(_LOOK_S)
            quiet_s -= _LOOK_S
            if quiet_s <= 0 and connections.strangers.total() > told:
                # A rejected peer tries again a few times: wait a second, so that one warning covers all its attempts.
                gevent.sleep(1.0)
                told, quiet_s = connections.strangers.total(), _TELL_S
                say(of_strangers(connections.strangers, port, keyed))
            if not hoards and connections.hoards:
                hoards = 1
                say(
                    f"a connection from {_places(connections.hoards)} has sent more than"
                    f" {MOST_UNREAD >> 20} MiB of one message and no end of it: it was closed"
                )


def of_strangers(found: Counter[str], port: int, keyed: bool) -> str:
    """Return a sentence on connections that never authenticated; ``found`` is their number by address."""
    what = "a client without the key of this run" if keyed else "a client that is not a worker"
    hint = (
        "; a worker of yours needs --join with the file that this master uses, and the same version"
        if keyed
        else ""
    )
    return f"{what} connected to port {port}, from {_places(found)}{hint}"


def _places(found: Counter[str]) -> str:
    told = ", ".join(f"{address} ({count:,}×)" for address, count in found.most_common(5))
    more = len(found) - 5
    return f"{told} and {more} more addresses" if more > 0 else told


class GuardedWorker(WorkerRunner):
    """Locust's worker, which accepts no options and no code from its master, and reports why a master rejects it."""

    def __init__(self, environment: Any, master_host: str, master_port: int) -> None:
        options = environment.parsed_options
        #: The master's messages that this worker has rejected.
        self.faults = Faults()
        key = _or_exit(lambda: worker_key(options))
        if key is None and beyond_loopback(master_host):
            exit_process(worker_needs_key(master_host), ExitCode.USAGE)
        gate = wire.Gate()
        _sockets(
            Client=lambda host, port, identity: wire.WorkerSocket(
                host, port, identity, key, self._from_master, self.faults.add, gate, locust_messages.cut
            )
        )
        gevent.spawn(_watch_gate, gate, key is not None, f"{master_host}:{master_port}")
        super().__init__(environment, master_host, master_port)

    def _from_master(self, kind: str, raw: msgspec.Raw) -> Any:
        message = master_messages.decoded(kind, raw)
        if message is not None:
            return message
        data = locust_messages.from_master(kind, raw, self.custom_messages)
        if kind == "spawn":
            unknown = sorted(set(data["user_classes_count"]) - set(self.user_classes_by_name))
            if unknown:
                raise ValueError(f"no user class {unknown[0]!a} is here")
            data["parsed_options"] = {
                name: value for name, value in data["parsed_options"].items() if name not in OF_LOCUST
            }
        return data

    def connect_to_master(self) -> None:
        """Wait for the master, up to five minutes; exit the process if it does not answer, or on an ending signal."""
        if self.retry:
            # Locust's `connect_to_master` calls this override again for each further attempt. The first call has
            # already installed the signal handlers.
            super().connect_to_master()  # type: ignore[no-untyped-call]
            return
        with reaching(f"{self.master_host}:{self.master_port}", forked=_is_forked(self.environment)):
            super().connect_to_master()  # type: ignore[no-untyped-call]

    def handle_message(self, msg: Message) -> None:
        """Pass Locust a message; count any error in handling it as a fault.

        Raises:
            RPCError: the socket is broken.
        """
        try:
            super().handle_message(msg)
        except RPCError:
            raise
        except Exception as error:
            self.faults.add("the master", msg.type, f"{type(error).__name__}: {error}")


def master_key(options: Any) -> join.MasterKey | None:
    """Return a master's key: if it forks its workers, the key that they inherit, else the key of its options.

    Raises:
        RunError: the join file or variable cannot be used.
    """
    if getattr(options, "processes", None) and "--worker" not in sys.argv:
        return _inherited.master
    return join.for_master(_file(options))


def worker_key(options: Any) -> join.WorkerKey | None:
    """Return a worker's key, inherited from the master that forked it or given by its own options.

    Raises:
        RunError: the join file or variable cannot be used.
    """
    if getattr(options, "processes", None) and "--worker" not in sys.argv:
        return _inherited.worker
    return join.for_worker(_file(options))


def _is_forked(environment: Any) -> bool:
    return bool(getattr(environment.parsed_options, "processes", None)) and "--worker" not in sys.argv


def _file(options: Any) -> Path | None:
    given = getattr(options, "join", None)
    return None if given is None else Path(given)


def _sockets(**made: Any) -> None:
    """Make Locust's runners create their sockets with these factories."""
    locust.runners.rpc = SimpleNamespace(**made)  # type: ignore[assignment, attr-defined]


def _watch_gate(gate: wire.Gate, keyed: bool, where: str) -> None:
    """Print why and end a worker's process once it is certain that the master will never let it in."""
    while not gate.open:
        if gate.shut:
            exit_process(_shut(gate, keyed, where), ExitCode.USAGE)
        gevent.sleep(_LOOK_S)


def _shut(gate: wire.Gate, keyed: bool, where: str) -> str:
    if not keyed:
        return (
            f"the master at {where} wants a key, or is none: give --join with a copy of the master's join file, or set"
            f" {JOIN_WORKER}"
        )
    if gate.refused:
        return (
            f"the master at {where} does not know this worker's key: copy the join file that this master uses"
        )
    return (
        f"what answers at {where} has not the master's key of this join file: copy the file that the master there uses,"
        " or start that master with --join"
    )


def _or_exit(made: Callable[[], Any]) -> Any:
    """Return a key, or print the reason and exit if it cannot be read."""
    try:
        return made()
    except RunError as error:
        exit_process(str(error), error.code)
    finally:
        # Hide the keys from child processes, none of which needs them.
        for name in (JOIN_MASTER, JOIN_WORKER):
            os.environ.pop(name, None)
