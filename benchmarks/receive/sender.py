"""The one sender of all receivers: an Event API as far as subscribing goes, then one frame after another.

It speaks to whoever connects (the protocol's handshake if asked for it), answers `connection_init` and `subscribe`,
and when told to go writes `data` frames, each in a write of its own, to one connection after the other. Its CPU
does not count.
"""

import json
import selectors
import socket
import struct
import time
from multiprocessing.connection import Connection

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from loadgen.measure.stamp import STAMP_KEY

TOKEN = 7
FRAME_BYTES = 251
TICK_S = 0.002


class Subscriber:
    """One connection: its handshake, then the frame that it is sent, around the time."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.subscribed = False
        self._protocol = ServerProtocol(select_subprotocol=lambda _, offered: offered[0] if offered else None)
        self._before = self._after = b""

    def read(self) -> bool:
        """Take what has come; false: the connection is at its end."""
        data = self.socket.recv(65536)
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self._answer(json.loads(event.data))
            else:
                self._protocol.send_response(self._protocol.accept(event))  # type: ignore[arg-type]
        for part in self._protocol.data_to_send():
            if part:
                self.socket.sendall(part)
        return True

    def _answer(self, frame: dict[str, str]) -> None:
        if frame["type"] == "connection_init":
            self._say({"type": "connection_ack", "connectionTimeoutMs": 300_000})
        elif frame["type"] == "subscribe":
            self._prepare(frame["id"])
            self._say({"type": "subscribe_success", "id": frame["id"]})
            self.subscribed = True

    def _say(self, message: dict[str, object]) -> None:
        self._protocol.send_text(json.dumps(message).encode())

    def _prepare(self, number: str) -> None:
        """Make the frame with places of fixed width for sequence and times; as long for every receiver."""
        event = f'{{\\"{STAMP_KEY}\\":[{TOKEN},1,'
        head = f'{{"id":"{number}","type":"data","event":"{event}'
        fixed = len(head) + 10 + 1 + 19 + 1 + 19 + len("]") + len(',\\"pad\\":\\"\\"}"}')
        body = FRAME_BYTES - 4
        pad = "x" * (body - fixed)
        header = struct.pack("!BBH", 0x80 | Opcode.TEXT, 126, body)
        self._before = header + head.encode()
        self._after = f'],\\"pad\\":\\"{pad}\\"}}"}}'.encode()

    def frame(self, sequence: int, now_ns: int) -> bytes:
        """Return the next frame; a sequence has ten digits, so that every frame is of one length."""
        return b"%b%d,%d,%d%b" % (self._before, 1_000_000_000 + sequence, now_ns, now_ns, self._after)


def serve(pipe: Connection, subscribers: int) -> None:
    """Say the port, and "ready" once all are subscribed; then obey ("send", frames a second, seconds) and ("stop",)."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    pipe.send(listener.getsockname()[1])
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    people: list[Subscriber] = []
    while sum(person.subscribed for person in people) < subscribers:
        for key, _ in selector.select(1.0):
            if key.data is None:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                person = Subscriber(connection)
                people.append(person)
                selector.register(connection, selectors.EVENT_READ, person)
            elif not key.data.read():
                selector.unregister(key.fileobj)
                people.remove(key.data)
    pipe.send("ready")
    sequence = 0
    while (order := pipe.recv())[0] == "send":
        sent = _send(people, sequence, *order[1:])
        sequence += sent
        pipe.send(sent)
    for person in people:
        person.socket.close()


def _send(people: list[Subscriber], sequence: int, rate: float, seconds: float) -> int:
    """Write frames at a rate, one connection after the other; what falls due together goes to different connections."""
    began_ns = time.monotonic_ns()
    sent = 0
    while (elapsed_s := (time.monotonic_ns() - began_ns) / 1e9) < seconds:
        due = int(elapsed_s * rate)
        # At most one frame a connection in a turn: a reader that keeps up finds one frame a read.
        for _ in range(min(due - sent, len(people))):
            person = people[sent % len(people)]
            person.socket.sendall(person.frame(sequence + sent, time.time_ns()))
            sent += 1
        if sent >= due:
            time.sleep(TICK_S / 4)
    return sent
