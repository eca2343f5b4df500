"""One client's connection to the service, over all its reconnects."""

from collections.abc import Callable, Sequence
from typing import Any

from gevent.event import Event

from loadgen.measure.clock import Clock, now_ns
from loadgen.protocol.resuming import Resumable
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport.connection import connection
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.users.conversation import Connect, Conversation, Listener, OnDelivery, OnRequest
from loadgen.users.direct import DirectPublishes
from loadgen.users.life import Life
from loadgen.users.life_record import LifeRecord
from loadgen.users.reconnect import LEAVE
from loadgen.users.unanswered import OnAnswer
from loadgen.users.worker import WorkerRun


class ClientConnection:
    """The connection of one client, over all its reconnects.

    A life lasts from a connect to the end of that connection. :meth:`open` begins a life, and may be called again after
    that life has ended. Everything is recorded by the run's recorder and counted in its progress.

    These callbacks are optional. ``on_delivery`` is called with (channel pattern, event text) after a delivery was
    recorded. ``on_request`` is called with the arguments of `OnRequest` after a delivery of one of this run's own
    events was recorded. ``on_ended`` is called from the gevent hub with this connection when a life that :meth:`open`
    had established ends without :meth:`close` or :meth:`abort`. ``connect`` makes the socket of each life, and
    ``clock`` returns the time in ns. With a ``listener``, :meth:`unsubscribe` also gives up subscriptions that are not
    ready yet.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_connect",
        "_conversation",
        "_life",
        "_listener",
        "_on_delivery",
        "_on_ended",
        "_on_request",
        "_run",
        "ended",
    )

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        on_delivery: OnDelivery | None = None,
        on_ended: Callable[["ClientConnection"], None] | None = None,
        connect: Connect = connection,
        clock: Clock = now_ns,
        on_request: OnRequest | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._run, self._client = run, client
        self._on_request = on_request
        self._on_delivery, self._on_ended = on_delivery, on_ended
        self._connect, self._clock, self._listener = connect, clock, listener
        #: The current life, or the last one.
        self._life = Life()
        self._conversation: Conversation | None = None
        #: Set while there is no connection; :meth:`open` clears it.
        self.ended = Event()
        self.ended.set()

    def open(self, timeout_s: float) -> None:
        """Connect, wait until the service accepts the connection, and request every subscription of the client.

        Return without waiting for the answers to the subscriptions.

        Raises:
            TransportError: the service could not be reached, or did not answer in time.
            HandshakeRefusedError: the service refused the connection; trying again cannot help.
            NotNowError: the service refused the connection for now; trying again later may help.
            OurFailureError: the harness failed; the failure is already recorded.
        """
        # A client that left on purpose comes back without its earlier session, like a browser that reopens a page.
        earlier = self._conversation if self._life.intent != LEAVE else None
        life = self._life = self._life.next(self._clock())
        record = LifeRecord(self._run, self._client, life)
        self._conversation = conversation = None
        self.ended.clear()
        try:
            conversation = self._conversation = Conversation(
                *(self._run, self._client, life, record),
                *(self._on_delivery, self._on_over, self._connect, self._clock),
                on_request=self._on_request,
                listener=self._listener,
                earlier=None if earlier is None else earlier.session,
            )
            conversation.open(timeout_s)
        except Exception as error:
            ours = not isinstance(error, TransportError)
            if ours:
                record.failed(error)
            if conversation is not None:
                conversation.drop()
            self.ended.set()
            if ours:
                raise OurFailureError(error) from error
            raise

    @property
    def life(self) -> int:
        """Number of the latest life, from 0; -1 before the first."""
        return self._life.number

    @property
    def intent(self) -> str | None:
        """The reason for which the client itself ended the latest life (see `reconnect`), or None if it did not."""
        return self._life.intent

    @property
    def retry_s(self) -> float | None:
        """Wait (s) before a reconnect that the service asked for during the last life, or None if it asked for none."""
        session = None if self._conversation is None else self._conversation.session
        return session.retry_s if isinstance(session, Resumable) else None

    @property
    def has_socket(self) -> bool:
        """True while the connection is open or being opened."""
        return self._conversation is not None and self._conversation.socket is not None

    @property
    def remote_address(self) -> str | None:
        """IP address and port of the service, or None if there is no connection."""
        socket = None if self._conversation is None else self._conversation.socket
        return None if socket is None else socket.remote_address

    @property
    def most_unanswered(self) -> int:
        """Maximum number of events that the service allows to be unanswered at once; 0 for no limit."""
        return 0 if self._conversation is None else self._conversation.most_unanswered

    def publish(self, publish_id: str, channel: str, events: Sequence[Any], on_answer: OnAnswer) -> None:
        """Publish events, made by `WorkerRun.stamping`, over this connection.

        ``on_answer`` gets the answer and its arrival (ns), or None and the current time if the connection was lost.

        Raises:
            TransportError: the connection is not open.
        """
        if self._conversation is None:
            raise TransportError("the connection is closed")
        self._conversation.publish(publish_id, channel, events, on_answer)

    @property
    def direct(self) -> DirectPublishes | None:
        """The direct publishes of this connection (see `users.direct`), or None if it cannot publish directly now."""
        return None if self._conversation is None else self._conversation.direct

    def subscribe(self, plan: SubscriptionPlan) -> None:
        """Request a subscription on the current connection; no other subscription may have the same number.

        Raises:
            TransportError: the connection is not open.
        """
        if self._conversation is None:
            raise TransportError("the connection is closed")
        self._conversation.subscribe(plan)

    def unsubscribe(self, plan: SubscriptionPlan) -> Callable[[], None] | None:
        """Give up a subscription and return a function that subscribes again.

        The returned function does nothing if the connection has ended by then. If the subscription is not ready or
        there is no connection, do nothing and return None.
        """
        return None if self._conversation is None else self._conversation.unsubscribe(plan)

    def cut(self, intent: str, with_close_frame: bool) -> bool:
        """End the connection as an action of the client, and record ``intent``; return False without a connection."""
        return self._conversation is not None and self._conversation.cut(intent, with_close_frame)

    def close(self) -> None:
        """Begin to close the connection; :attr:`ended` is set when the service has closed it too."""
        if self._conversation is not None:
            self._conversation.close()

    def abort(self) -> None:
        """Close the connection at once, without a close frame."""
        if self._conversation is not None:
            self._conversation.abort()

    def _on_over(self, life: Life) -> None:
        if life is not self._life:
            # An earlier connection of the client has failed, and the client has begun the next one. So :attr:`ended`
            # must not be set.
            return
        self.ended.set()
        if self._on_ended is not None and life.established and not life.closing:
            self._on_ended(self)
