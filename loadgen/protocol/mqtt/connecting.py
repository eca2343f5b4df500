"""The beginning of one connection: CONNECT, CONNACK, keep-alive, and the session that the client resumes.

Unless the client resumes its session (`Memory`), each connection starts without stored state (clean start, no session
kept): messages that a broker would have stored for an absent client are not delivered, as with AppSync Events.
"""

from typing import Any, Final, NamedTuple

from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt import limits
from loadgen.protocol.mqtt.incoming import Incoming
from loadgen.protocol.mqtt.memory import LOST, LOST_SESSION, RESUMED, UNASKED_SESSION, Memory
from loadgen.protocol.mqtt.outgoing import SENT_AGAIN, Outgoing
from loadgen.protocol.mqtt.reasons import REFUSED, reason_of, refusal_of
from loadgen.protocol.mqtt.use import Use
from loadgen.protocol.refusals import Refusal

SECOND_CONNACK: Final = "the broker sent a second ConnAck"


class Refused(NamedTuple):
    """The reason why a connection cannot be used: the broker refuses it, or offers less than the run needs."""

    why: str
    refusal: Refusal | None = None


class Connecting:
    """The CONNECT of one connection and the broker's answer to it.

    With a ``memory``, the connection continues the publishes and deliveries of the client's last connection.
    """

    __slots__ = (
        "_client_id",
        "_handler",
        "_incoming",
        "_keep_alive_s",
        "_memory",
        "_outgoing",
        "_use",
        "connected",
        "timeout_ns",
    )

    def __init__(
        self,
        handler: SessionHandler,
        use: Use,
        client_id: str,
        memory: Memory | None,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> None:
        self._handler, self._use, self._client_id, self._memory = handler, use, client_id, memory
        self._incoming, self._outgoing = incoming, outgoing
        #: True once the broker has accepted the connection.
        self.connected = False
        self._keep_alive_s = limits.KEEP_ALIVE_S
        #: Time (ns) within which the broker must answer our pings: 1.5 times the keep alive. None before the CONNACK,
        #: or without a keep alive.
        self.timeout_ns: int | None = None

    @property
    def keepalive_ns(self) -> int | None:
        """The interval of our pings, or None for never."""
        return int(self._keep_alive_s * limits.PING_AFTER * 1e9) or None

    def request(self) -> bytes:
        """Return the CONNECT."""
        memory, settings = self._memory, self._use.settings
        # A client's first connection starts a clean session: a session that the broker has kept under the
        # client's id belongs to an earlier run.
        clean = memory is None or not memory.begun
        expiry_s = 0 if memory is None else settings.expiry_s
        if memory is not None and not settings.properties:
            # MQTT 3.1.1 has one flag both for starting without old state and for keeping no state
            # afterwards. The broker must keep this session, so the flag stays unset.
            clean = False
        return self._use.wire.connect(self._client_id, self._use.login, clean=clean, expiry_s=expiry_s)

    def acknowledged(self, packet: Any, arrival_ns: int) -> Refused | None:
        """Process a CONNACK; return the reason if the connection cannot be used, else None."""
        settings = self._use.settings
        if self.connected:
            self._handler.on_deviation(SECOND_CONNACK)
            return None
        if int(packet.reason_code) >= REFUSED:
            return Refused(reason_of(packet), refusal_of(int(packet.reason_code)))
        if int(packet.max_qos) < settings.qos:
            best = int(packet.max_qos)
            return Refused(f"the broker offers QoS {best} at most: ask for it with '?qos={best}' in the URL")
        if settings.retain and not packet.retain_available:
            return Refused("the broker retains no messages: drop 'retain=true' in the URL")
        self.connected = True
        self._outgoing.connected(packet.receive_max, packet.max_packet_size)
        if packet.server_keep_alive is not None:
            self._keep_alive_s = packet.server_keep_alive
        self.timeout_ns = int(self._keep_alive_s * limits.SILENT_AFTER * 1e9) or None
        self._resume(packet)
        self._handler.on_connected(arrival_ns)
        return None

    def _resume(self, packet: Any) -> None:
        """Continue the session of the last connection, if the client and the broker kept it."""
        memory, handler = self._memory, self._handler
        if memory is None:
            if packet.session_present:
                handler.on_deviation(UNASKED_SESSION)
            return
        if packet.session_present and not memory.begun:
            handler.on_deviation(UNASKED_SESSION)
        found = memory.found(packet.session_present)
        if packet.session_expiry_interval is not None:
            # The broker may set another session expiry than the client asked for (MQTT 5, 3.2.2.3.2).
            memory.expiry_s = packet.session_expiry_interval
        if found == LOST:
            handler.on_deviation(LOST_SESSION)
        if found == RESUMED:
            self._incoming.resume(memory.topics)
            unfinished, count = self._outgoing.resume()
            for _ in range(count):
                handler.on_aside(SENT_AGAIN)
            if unfinished:
                handler.on_reply(unfinished)
        handler.on_session(found)
