"""Many simulated workers in one process, which send the harness's real messages and made-up records.

Each worker has its own encrypted socket and sends the messages of a real worker at the same intervals: it introduces
itself, claims its clients, reports that they are ready, pings the master, reports its counts and a histogram, sends
Locust's heartbeats and statistics, and sends its spool (the files that a worker records) by the real sender's rules.
Its users do nothing. With a storage, a worker sends nothing of its spool and stores it in pieces at the end.
"""

import hashlib
import heapq
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import locust
import msgspec
import zmq
from locust.rpc.protocol import Message as LocustMessage

from analysis.record import parts
from analysis.record.schemas import spool_name
from loadgen.measure.clock import boot_id, now_ns, read_both
from loadgen.run import master_messages, messages, registration
from loadgen.run.join import WorkerKey
from loadgen.run.master_messages import Begin, Finish, Go, Grant, Pong, Ramp, SpoolWritten
from loadgen.run.messages import Message
from loadgen.run.periodic import FLUSH_INTERVAL_S, STATUS_INTERVAL_S
from loadgen.run.spool_transfer import WINDOW_BYTES
from loadgen.run.worker_messages import PIECE_BYTES, Claim, Finished, Piece, Ping, Status, StoredFile
from loadgen.users.worker import Progress
from scale.recorded import Recorded

PING_S = 0.25
HEARTBEAT_S = 1.0
STATISTICS_S = 3.0


@dataclass
class Seen:
    """The observations of all workers of a run about their master: pings, late messages, and errors."""

    #: (time at which the answer came, time from sending the ping until the master read the ping), in ns. All processes
    #: use the clock of one machine.
    pings: list[tuple[int, int]] = field(default_factory=list)
    #: By message name (RAMP, GO and FINISH): the longest delay (ns) with which any worker got the master's message.
    late: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def came(self, what: str, late_ns: int) -> None:
        """Note the delay of a message from the master, if it is the longest so far."""
        self.late[what] = max(self.late.get(what, 0), late_ns)


@dataclass
class Shared:
    """A stored stream: its pieces and their checksums, and the checksum of the whole."""

    pieces: list[tuple[Path, str]]
    sha256: str

    @classmethod
    def of(cls, content: bytes, folder: Path, table: str) -> "Shared":
        """Write the pieces of a stream."""
        folder.mkdir(exist_ok=True)
        pieces = []
        for at in range(0, len(content), parts.PIECE_BYTES):
            piece = content[at : at + parts.PIECE_BYTES]
            path = folder / f"{table}-{len(content)}-{at}"
            path.write_bytes(piece)
            pieces.append((path, hashlib.sha256(piece).hexdigest()))
        return cls(pieces, hashlib.sha256(content).hexdigest())


class Fleet:
    """All simulated workers of one master; :meth:`turn` runs them."""

    def __init__(self, count: int, port: int, key: WorkerKey, storage: Path | None = None) -> None:
        """``storage`` is the folder in which workers store their spool, or None if they send it to the master."""
        self.seen = Seen()
        self.storage = storage
        #: The streams that were stored, by table and length; workers with the same bytes share them.
        self.stored: dict[tuple[str, int], Shared] = {}
        self.recorded = Recorded()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._poller = zmq.Poller()
        self._due: list[tuple[float, int, Callable[[], float | None]]] = []
        self._number = 0
        self.timeline: Go | None = None
        #: Wall-clock times (ns): when the last worker claimed its clients (`claimed_ns`), and when the last worker
        #: reported that its clients are ready (`ready_ns`).
        self.claimed_ns = self.ready_ns = 0
        #: Number of deliveries that each worker records per second from now on. `histogram` encodes the latencies of
        #: these deliveries.
        self.deliveries = 0
        self.histogram: str | None = None
        self.begun_s = time.monotonic()
        self.workers = [Worker(self, number, port, key) for number in range(count)]
        self._by_socket = {worker.socket: worker for worker in self.workers}
        for worker in self.workers:
            self._poller.register(worker.socket, zmq.POLLIN)

    def every(self, seconds: float, action: Callable[[], object], first_s: float = 0.0) -> None:
        """Call ``action`` every ``seconds``, for the first time in ``first_s``."""
        at_s = time.monotonic() + first_s
        state = {"at_s": at_s}

        def again() -> float:
            action()
            state["at_s"] = max(state["at_s"] + seconds, time.monotonic() - seconds)
            return state["at_s"]

        self._number += 1
        heapq.heappush(self._due, (at_s, self._number, again))

    def turn(self, until_s: float) -> None:
        """Run all workers until the steady clock shows ``until_s``."""
        while (now_s := time.monotonic()) < until_s:
            while self._due and self._due[0][0] <= now_s:
                _, number, action = heapq.heappop(self._due)
                if (again_s := action()) is not None:
                    heapq.heappush(self._due, (again_s, number, action))
            next_s = min(until_s, self._due[0][0] if self._due else until_s)
            wait_ms = max(0, round((next_s - time.monotonic()) * 1e3))
            for ready, _ in self._poller.poll(wait_ms):
                self._by_socket[ready].read()

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Run all workers until a condition holds; return False if it does not in time."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until_s:
                return False
            self.turn(time.monotonic() + 0.02)
        return True

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that workers have recorded and the master has not yet taken."""
        return sum(worker.available - worker.taken for worker in self.workers)

    @property
    def taken_bytes(self) -> int:
        """Number of bytes that the master has taken from all workers."""
        return sum(worker.taken for worker in self.workers)

    def close(self) -> None:
        """Close all sockets."""
        for worker in self.workers:
            worker.socket.close(linger=0)
        self.context.term()


@lru_cache(maxsize=4096)
def _checksum(content: bytes) -> int:
    return crc32(content)


class Worker:
    """One simulated worker."""

    def __init__(self, fleet: Fleet, number: int, port: int, key: WorkerKey) -> None:
        self.fleet = fleet
        self.name = f"simulated_{number:04d}"
        self.socket: Any = fleet.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, self.name.encode())
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.master_public)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.number = number
        self.worker = 0
        self.begin: Begin | None = None
        self.state = "ready"
        self.finishing = self.finished = self.over = False
        self.clients = 0
        self.subscriptions = 0
        self._request = 0
        self._users: dict[str, int] = {}
        self._seconds = 0
        self._sent: dict[str, int] = {}
        self._have: dict[str, int] = {}
        self._tables: dict[str, str] = {}
        self._told: str | None = None
        self.locust("client_ready", locust.__version__)
        self.send(registration.introduction("1", "127.0.0.1"))
        # Start the intervals of different workers at different moments, to spread their messages evenly.
        part = number / 97 % 1
        fleet.every(HEARTBEAT_S, self._beat, part * HEARTBEAT_S)
        fleet.every(STATISTICS_S, self._statistics, part * STATISTICS_S)
        fleet.every(PING_S, self._ping, part * PING_S)
        fleet.every(STATUS_INTERVAL_S, self._status, part * STATUS_INTERVAL_S)
        fleet.every(FLUSH_INTERVAL_S, self._flush, part * FLUSH_INTERVAL_S)

    # Messages to the master.

    def locust(self, kind: str, data: Any = None) -> None:
        """Send one of Locust's own messages."""
        self.socket.send(LocustMessage(kind, data, self.name).serialize())  # type: ignore[no-untyped-call]

    def send(self, message: Message) -> None:
        """Send a message of the harness."""
        self.locust(message.KIND, messages.plain(message))

    def _beat(self) -> None:
        if not self.over:
            self.locust(
                "heartbeat", {"state": self.state, "current_cpu_usage": 50.0, "current_memory_usage": 10**8}
            )

    def _statistics(self) -> None:
        if self.state != "running" or self.over:
            return
        second = int(time.time())
        entry = {
            "name": "/default/broadcast", "method": "DELIVERY", "last_request_timestamp": time.time(),
            "start_time": time.time(), "num_requests": 3000, "num_none_requests": 0, "num_failures": 0,
            "total_response_time": 9000.0, "max_response_time": 30.0, "min_response_time": 1.0,
            "total_content_length": 0, "response_times": dict.fromkeys(range(100), 30),
            "num_reqs_per_sec": {second: 1000, second - 1: 1000, second - 2: 1000}, "num_fail_per_sec": {},
        }  # fmt: skip
        data = {"stats": [entry], "stats_total": {**entry, "name": "Aggregated", "method": ""}, "errors": {}}
        self.locust("stats", {**data, "user_classes_count": self._users, "user_count": self.clients})

    def _ping(self) -> None:
        if self.begin is not None and not self.finished:
            here = read_both()
            self.send(Ping(sent_ns=here.real_ns, sent_raw_ns=here.raw_ns, bound_ns=None))

    def _status(self) -> None:
        if self.begin is None or self.finished:
            return
        histogram, self._told = self._told, None
        known = {
            "connected": self.begin.websockets,
            "acknowledged": self.subscriptions,
            "ready": self.subscriptions,
        }
        progress = {**msgspec.to_builtins(Progress()), **known}
        if not self.fleet.ready_ns and self.clients and all(each.clients for each in self.fleet.workers):
            self.fleet.ready_ns = now_ns()
        self.send(
            Status(
                progress=progress, deliveries=self._rows().get("deliveries", 0), complaints={}, fatal=None, broken=None,
                broken_code=3, absent=False, histogram=histogram, shortest=None, live=[],
            )
        )  # fmt: skip

    # The spool.

    @property
    def available(self) -> int:
        """Bytes recorded."""
        return sum(stream.ends[self._seconds - 1] for stream in self._streams()) if self._seconds else 0

    @property
    def taken(self) -> int:
        """Number of bytes that the master has taken from this worker, or need not take since they are stored."""
        return sum(self._have.values()) if self.fleet.storage is None else self.available

    def _streams(self) -> list[Any]:
        return list(self.fleet.recorded.streams.values())

    def _rows(self) -> dict[str, int]:
        if not self._seconds:
            return {}
        return {table: each.rows[self._seconds - 1] for table, each in self.fleet.recorded.streams.items()}

    def _flush(self) -> None:
        timeline = self.fleet.timeline
        if timeline is None or self.finishing or now_ns() < timeline.measure_ns:
            return
        self._seconds += 1
        if self._seconds > self.fleet.recorded.seconds:
            self.fleet.recorded.add_second(self.fleet.deliveries)
        self._told = self.fleet.histogram
        self._pump()

    def _pump(self) -> None:
        if self.fleet.storage is not None:
            return
        for table, stream in self.fleet.recorded.streams.items():
            name = self._tables.setdefault(table, spool_name(table, self.worker))
            at = self._sent.setdefault(name, 0)
            self._have.setdefault(name, 0)
            end = stream.ends[self._seconds - 1] if self._seconds else 0
            while at < end and (room := WINDOW_BYTES - sum(self._sent.values()) + self.taken) > 0:
                piece = bytes(stream.data[at : min(end, at + min(PIECE_BYTES, room))])
                self.send(Piece(name=name, at=at, piece=piece, crc32=_checksum(piece)))
                at += len(piece)
                self._sent[name] = at

    # Messages from the master.

    def read(self) -> None:
        """Handle all messages that have arrived."""
        while True:
            try:
                frame = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            kind, raw, _ = msgspec.msgpack.decode(frame, type=tuple[str, msgspec.Raw, str | None])
            message = master_messages.decoded(kind, raw)
            if message is None:
                self._on_locust(kind, raw)
            else:
                self._on(message)

    def _on_locust(self, kind: str, raw: msgspec.Raw) -> None:
        if kind == "spawn":
            self._users = msgspec.msgpack.decode(raw)["user_classes_count"]
            self.state = "running"
            count = sum(self._users.values())
            self.locust("spawning")
            self.locust("spawning_complete", {"user_classes_count": self._users, "user_count": count})
            if self.begin is not None and count and not self.clients and not self._request:
                self._request = self.number + 1
                self.fleet.claimed_ns = now_ns()
                self.send(Claim(request=self._request, wanted=dict(self.begin.run.counts_by_role())))
        elif kind in ("stop", "quit"):
            self.over = True
            self.locust("client_stopped")

    def _on(self, message: Message) -> None:
        match message:
            case Begin():
                self.begin, self.worker = message, message.worker
                if message.boot_id != boot_id():
                    self.fleet.seen.errors.append("the master is on another machine")
            case Grant():
                assert self.begin is not None
                numbers = [number for each in message.granted.values() for number in each]
                self.clients = len(numbers)
                for group in self.begin.run.groups:
                    its = sum(group.first <= number < group.first + group.count for number in numbers)
                    self.subscriptions += its * group.subscriptions // group.count
            case Ramp():
                self.fleet.seen.came("ramp", now_ns() - self.fleet.claimed_ns)
            case Go():
                self.fleet.timeline = message
                self.fleet.seen.came("go", now_ns() - self.fleet.ready_ns)
            case Pong():
                self.fleet.seen.pings.append((now_ns(), message.master_received_ns - message.sent_ns))
            case SpoolWritten():
                if message.again:
                    self._sent[message.name] = message.have
                self._have[message.name] = max(self._have[message.name], message.have)
                self._pump()
                self._hand_over()
            case Finish():
                timeline = self.fleet.timeline
                if timeline is not None:
                    self.fleet.seen.came("finish", now_ns() - timeline.drain_end_ns)
                self.finishing = True
                self._pump()
                if self.fleet.storage is None:
                    self._hand_over()
                elif all(each.finishing for each in self.fleet.workers):
                    # Storing takes long, and would delay the messages of the others, which are measured.
                    for each in self.fleet.workers:
                        each._hand_over()
            case _:
                self.fleet.seen.errors.append(repr(message)[:200])

    def _store(self) -> dict[str, StoredFile] | None:
        """Store the spool in pieces; return what was stored, or None without a storage.

        Equal pieces of several workers are written only once, since the storage is not what is measured.
        """
        storage, begin = self.fleet.storage, self.begin
        if storage is None or begin is None or begin.storage is None:
            return None
        told = {}
        folder = storage / begin.storage.run / parts.worker_folder(self.worker)
        folder.mkdir()
        for table, stream in self.fleet.recorded.streams.items():
            end, name = stream.ends[self._seconds - 1], spool_name(table, self.worker)
            shared = self.fleet.stored.get((table, end))
            if shared is None:
                shared = self.fleet.stored[table, end] = Shared.of(
                    bytes(stream.data[:end]), storage / "shared", table
                )
            for number, (path, sha256) in enumerate(shared.pieces):
                os.link(path, folder / f"{name}.{number:06d}-{sha256}")
            told[name] = StoredFile(
                pieces=len(shared.pieces),
                bytes=end,
                rows=stream.rows[self._seconds - 1],
                sha256=shared.sha256,
            )
        return told

    def _hand_over(self) -> None:
        if not self.finishing or self.finished or self.available > self.taken:
            return
        self.finished = True
        stored = self._store()
        self.send(
            Finished(
                receive_path="native", deliveries=self._rows().get("deliveries", 0), events=0, foreign=0, undecodable=0,
                undecodable_kinds=[], unknown_subscription=0, probes=0, probe_deliveries=0, echo=None, deviations={},
                failures=[], checks={}, gathered_by="messages" if stored is None else "storage", rows=self._rows(),
                spool_bytes=self.available,
                files=dict(self._sent) if stored is None else None, left=None, network={}, proxies=[], asides={},
                stored=stored,
            )
        )  # fmt: skip
