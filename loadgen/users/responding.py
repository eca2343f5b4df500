"""Replies: events that a client publishes because it received an event, the request.

The run's record names the delivery of the request as the cause of each reply.

`Replies` publishes the replies of one client. `Responder` decides by the client's plan when a request is answered,
where and how often.
"""

from collections.abc import Callable
from typing import Final

import gevent
from gevent import Greenlet
from gevent.event import Event

from loadgen.measure.failures import HARNESS
from loadgen.measure.stamp import Stamp
from loadgen.resolve import ClientPlan
from loadgen.resolve.replies import MOST_CHARACTERS, ReplyPlan, UnanswerableError
from loadgen.users.numbering import Numbers
from loadgen.users.open_requests import Cause
from loadgen.users.requests import Maker, PublishRequests
from loadgen.users.senders import Sender
from loadgen.users.worker import WorkerRun

#: Maximum number of requests to one client that may await replies at once: a service must not flood the worker.
MOST_OUTSTANDING: Final = 1_000
#: Maximum number of unanswered HTTP requests by which one client publishes replies; further ones wait for a connection.
MOST_IN_FLIGHT: Final = 64
#: Number of latest requests that a client remembers, so that it answers a request once even if it arrives again.
MOST_REMEMBERED: Final = 10_000


class _Padded(Maker):
    """Makes replies of padding only, without further JSON members."""

    makes_members = False

    def members(self) -> str:
        """Return an empty text, since a padded reply gets no further JSON members."""
        return ""

    def too_large(self, size_bytes: int, most_bytes: int) -> None:
        """Do nothing: the service refuses the reply, and the refusal is recorded."""


class Replies:
    """Publishes the replies of one client over ``sender``.

    ``numbers`` numbers all publishes of the client, not only its replies. ``payload_bytes`` is the size up to which a
    reply is padded.
    """

    def __init__(
        self, run: WorkerRun, client: ClientPlan, sender: Sender, numbers: Numbers, payload_bytes: int
    ) -> None:
        self._run = run
        self._numbers = numbers
        self._answered = Event()
        self._requests = PublishRequests(
            run, client, sender, _Padded(), self._answered.set, payload_bytes=payload_bytes
        )

    def send(self, cause: Cause, channel: str, intended_ns: int) -> None:
        """Publish a reply that is due at ``intended_ns`` on the master's clock; return without waiting for the answer.

        ``channel`` is in the protocol's normal form.
        """
        run = self._run
        number, sequences = self._numbers.next(1)
        if run.publishing_over:
            self._requests.too_late(number, sequences, channel, intended_ns, cause)
        else:
            self._requests.publish(number, sequences, channel, intended_ns, run.local_ns(intended_ns), cause)

    def cut_off(self, cause: Cause, channel: str, intended_ns: int) -> None:
        """Record a reply that is not sent any more, because the run has ended before it was due."""
        number, sequences = self._numbers.next(1)
        self._requests.too_late(number, sequences, channel, intended_ns, cause)

    def wait_for_room(self, most: int) -> None:
        """Wait until fewer than ``most`` requests are unanswered; 0 for no limit."""
        self._requests.awaited = bool(most)
        while most and self._requests.unanswered >= most and not self._run.publishing_over:
            self._answered.clear()
            self._answered.wait()

    def give_up(self) -> None:
        """Record the requests without an answer; call after the drain."""
        self._requests.give_up()


class Responder:
    """Answers the requests that one client receives, each in a separate greenlet.

    The first reply is due when the scenario's `after` has passed since the request's kernel stamp. Further replies are
    due at fixed intervals from then on, even if an earlier reply was late.
    """

    def __init__(self, run: WorkerRun, client: ClientPlan, plan: ReplyPlan) -> None:
        self._run, self._client, self._plan = run, client, plan
        self._delays_ns = plan.delays_ns()
        self._replies: Replies | None = None
        self._most_unanswered: Callable[[], int] = lambda: 0
        #: The latest requests as (publisher, sequence), in the order of their arrival.
        self._known: dict[tuple[int, int], None] = {}
        self._outstanding: set[Greenlet] = set()

    def use(self, sender: Sender, numbers: Numbers, most_unanswered: Callable[[], int]) -> None:
        """Send the replies by ``sender``; requests that arrive before this call get no reply.

        ``most_unanswered`` returns the maximum number of replies that may wait for the service's acknowledgement at
        once, or 0 for no limit.
        """
        self._most_unanswered = most_unanswered
        self._replies = Replies(self._run, self._client, sender, numbers, self._plan.payload_bytes)

    def on_request(self, subscription: int, event: str, arrival_ns: int, stamp: Stamp) -> None:
        """Begin to answer a delivery of this run's events; called from the event loop: never blocks or raises."""
        try:
            self._on_request(subscription, event, int(arrival_ns), stamp)
        except Exception as error:
            self._run.failures.add(HARNESS, "a reply", error)

    def _on_request(self, subscription: int, event: str, arrival_ns: int, stamp: Stamp) -> None:
        replies = self._replies
        if replies is None or subscription != self._plan.subscription or self._run.publishing_over:
            return
        _, publisher, sequence, _, _ = stamp
        if self._is_known(publisher, sequence):
            return
        if len(self._outstanding) >= MOST_OUTSTANDING:
            self._refuse(f"more than {MOST_OUTSTANDING:,} requests to one client await their replies")
            return
        try:
            channel = self._channel(publisher, event)
        except UnanswerableError as error:
            self._refuse(str(error))
            return
        cause = Cause(publisher, sequence, subscription)
        first_ns = self._run.master_ns(arrival_ns) + next(self._delays_ns)
        answering = gevent.spawn(self._answer, replies, cause, channel, first_ns)
        self._outstanding.add(answering)
        answering.rawlink(self._outstanding.discard)

    def give_up(self) -> None:
        """Record the replies that were not sent, and those that the service has not answered; call after the drain."""
        gevent.killall(list(self._outstanding))
        if self._replies is not None:
            self._replies.give_up()

    def _is_known(self, publisher: int, sequence: int) -> bool:
        key = (publisher, sequence)
        if key in self._known:
            return True
        self._known[key] = None
        if len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        return False

    def _channel(self, publisher: int, event: str) -> str:
        channel = self._plan.channel(publisher, event)
        try:
            return self._run.publish_channel(channel)
        except ValueError:
            # Do not repeat the ValueError's text: it quotes the channel, which may be untrusted text from the request.
            raise UnanswerableError(
                f"the request makes a channel of {min(len(channel), 100 * MOST_CHARACTERS):,} characters that"
                " cannot be published to"
            ) from None

    def _refuse(self, why: str) -> None:
        self._run.report_error(f"a request was not answered: {why}", fatal=False)

    def _answer(self, replies: Replies, cause: Cause, channel: str, first_ns: int) -> None:
        run, plan = self._run, self._plan
        done = 0
        try:
            for number in range(plan.count):
                intended_ns = first_ns + number * plan.every_ns
                run.wait_until(intended_ns)
                replies.wait_for_room(self._most_unanswered())
                if run.publishing_over:
                    return
                done += 1
                replies.send(cause, channel, intended_ns)
        except Exception as error:
            run.failures.add(HARNESS, "a reply", error)
        finally:
            for number in range(done, plan.count):
                replies.cut_off(cause, channel, first_ns + number * plan.every_ns)
