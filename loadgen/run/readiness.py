"""Prove that subscriptions deliver before anything is measured.

AWS AppSync may lose events for about two seconds after it has acknowledged a subscription by `subscribe_success`
(docs/reference/appsync-events.md, section 1.5). So a worker publishes probe events to each subscribed channel until
every subscription to it has received one. If the scenario sets a settle time, the worker waits for that time instead.
Probes go over HTTP, or over a separate connection if the service has no HTTP endpoint.

If subscriptions share a group, the service delivers an event to only one of them, which it chooses itself. So each
round publishes one probe for each subscription of the group that still waits. A subscription that no probe has reached
after `SHARED_ROUNDS` rounds counts as ready, since the service may choose other subscriptions every time.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.pool import Pool

from loadgen.client.event_client import EventClient, NoAnswerError, ServiceRefusedError
from loadgen.measure.clock import now_ns
from loadgen.payloads.stamping import Event as AnyEvent
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.shares import group_of
from loadgen.resolve import ResolvedRun
from loadgen.run.probe_events import ProbeEvents
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.isolation import OnFailed

PROBE_INTERVAL_S = 0.25
SHARED_ROUNDS = 12
#: Maximum number of probes that one round publishes for the members of a shared subscription.
_SHARED_PROBES_MAX = 100
_LOOK_S = 0.02
#: If no subscription is acknowledged for this time (s), no further acknowledgement is expected soon.
_REST_S = 0.04
_PROBE_CONNECTIONS = 8


class _Prober(Protocol):
    """Publishes probes, one per call."""

    def publish(self, channel: str, event: AnyEvent) -> PublishAnswer:
        """Publish a probe and return the answer; raises TransportError if no answer comes."""

    def close(self) -> None:
        """Close the prober's connections."""


class _HttpProber:
    def __init__(self, service: Service, url: str, on_failed: OnFailed, dialer: Dialer | None) -> None:
        self._service = service
        self._client = GeventHttpClient(url, _PROBE_CONNECTIONS, on_failed=on_failed, dialer=dialer)

    def publish(self, channel: str, event: AnyEvent) -> PublishAnswer:
        assert isinstance(event, str)
        request = self._service.http_publish(channel, [event])
        return self._service.http_answer(
            *self._client.post(request.body, request.headers, request.method, request.resource)
        )

    def close(self) -> None:
        self._client.close()


class _ConnectionProber:
    """Publish over a separate connection, opened with the first probe and again after a loss."""

    def __init__(self, service: Service, on_failed: OnFailed, dialer: Dialer | None) -> None:
        self._service = service
        self._on_failed = on_failed
        self._dialer = dialer or Dialer()
        self._client: EventClient | None = None
        self._opening = Semaphore()

    def publish(self, channel: str, event: AnyEvent) -> PublishAnswer:
        try:
            with self._opening:
                client = self._connected()
            return client.publish(channel, [event])
        except (ServiceRefusedError, NoAnswerError) as error:
            raise TransportError(str(error)) from None

    def _connected(self) -> EventClient:
        if self._client is None or self._client.ended.is_set():
            client = EventClient(self._service, on_failed=self._on_failed, dialer=self._dialer)
            client.open()
            client.login()
            self._client = client
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class ProbedReadiness:
    """Publish probes to all awaited channels; users call :meth:`proven` when a probe arrives.

    ``may_probe`` returns True once the ramp is over: earlier, every round of probes would reach all clients that are
    already connected. ``on_failed`` is called with errors of the harness; the probe is lost then.
    """

    def __init__(
        self,
        service: Service,
        token: int,
        worker: int,
        may_probe: Callable[[], bool],
        report_error: Callable[[str, bool], None],
        on_failed: OnFailed,
        dialer: Dialer | None = None,
        stamping: Stamping | None = None,
        run: ResolvedRun | None = None,
    ) -> None:
        self._on_failed = on_failed
        self._service = service
        # The scenario's publisher numbers are not negative, so a negative one marks a probe.
        self._events = ProbeEvents(stamping or Stamping(), token, -1 - worker, run)
        self._may_probe = may_probe
        self._complain = report_error
        self._awaited: Counter[str] = Counter()
        self._watched = 0
        self._wanted = Event()
        self._probed_ns: dict[str, int] = {}
        #: By channel, the shared subscriptions that no probe has reached yet: (`on_ready`, number of rounds of probes
        #: that they have waited).
        self._members: dict[str, list[tuple[Callable[[int], None], int]]] = {}
        self._sequence = 0
        url = service.http_url
        self._prober: _Prober = (
            _ConnectionProber(service, on_failed, dialer)
            if url is None
            else _HttpProber(service, url, on_failed, dialer)
        )
        self._probing = gevent.spawn(self._probe)

    @property
    def probes(self) -> int:
        """Number of probes published."""
        return self._sequence

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        """Send probes until a subscription to ``channel`` receives an event; the caller then calls :meth:`proven`.

        A shared subscription may get no probe, as each goes to one member of the group. After `SHARED_ROUNDS` rounds of
        probes ``on_ready`` is called for it instead.
        """
        self._awaited[channel] += 1
        if group_of(channel) is not None:
            self._members.setdefault(channel, []).append((on_ready, 0))
        self._watched += 1
        self._wanted.set()

    def proven(self, channel: str) -> None:
        """Note that one subscription to ``channel`` has received an event."""
        self.withdraw(channel)

    def probed_since_ns(self, channel: str) -> int | None:
        """Return the time of the first probe to ``channel``, or None if there was none yet."""
        return self._probed_ns.get(channel)

    def withdraw(self, channel: str) -> None:
        """Send no more probes for one of the subscriptions to ``channel`` that wait for their first event."""
        if self._awaited[channel] <= 1:
            del self._awaited[channel]
            self._members.pop(channel, None)
            if not self._awaited:
                self._wanted.clear()
        else:
            self._awaited[channel] -= 1

    def stop(self) -> None:
        """Stop probing and close the connections."""
        self._probing.kill(block=False)
        self._prober.close()

    def _probe(self) -> None:
        # Before the first round of probes, wait until no more subscriptions come; later rounds do not wait for that.
        waited = False
        while True:
            while not (self._wanted.is_set() and self._may_probe()):
                waited = False
                self._wanted.wait()
                gevent.sleep(_LOOK_S)
            if not waited:
                self._let_others_subscribe()
            pool = Pool(_PROBE_CONNECTIONS)
            for channel, awaited in list(self._awaited.items()):
                for _ in range(min(awaited, _SHARED_PROBES_MAX) if channel in self._members else 1):
                    pool.spawn(self._publish, channel)
            pool.join()
            gevent.sleep(PROBE_INTERVAL_S)
            self._give_up_on_members()
            waited = True

    def _give_up_on_members(self) -> None:
        """Count a subscription of a shared group as ready if no probe has reached it in `SHARED_ROUNDS` rounds."""
        for channel, waiting in list(self._members.items()):
            self._members[channel] = [
                (on_ready, rounds + 1) for on_ready, rounds in waiting if rounds < SHARED_ROUNDS
            ]
            for on_ready, rounds in waiting:
                if rounds >= SHARED_ROUNDS:
                    # Calling `on_ready` has no effect on a subscription that is ready already.
                    on_ready(now_ns())

    def _let_others_subscribe(self) -> None:
        """Wait until no more subscriptions come, so that one probe reaches all; at most `PROBE_INTERVAL_S`."""
        for _ in range(round(PROBE_INTERVAL_S / _REST_S)):
            before = self._watched
            gevent.sleep(_REST_S)
            if self._watched == before:
                return

    def _publish(self, awaited: str) -> None:
        channel = self._service.channel_for(awaited)
        self._sequence += 1
        at_ns = now_ns()
        self._probed_ns.setdefault(awaited, at_ns)
        event = self._events.event(channel, self._sequence, at_ns)
        try:
            answer = self._prober.publish(channel, event)
        except TransportError as error:
            self._complain(f"readiness probe: {error}", False)
            return
        except Exception as error:
            self._on_failed(error)
            return
        reason = answer.error or answer.rejected.get(0)
        if reason is not None:
            later = answer.refusal is not None and answer.refusal.again
            self._complain(f"readiness probe to {channel} refused: {reason}", not later)


class SettledReadiness:
    """Count a subscription as ready when a settle time has passed since its acknowledgement."""

    #: Number of probes published: always 0.
    probes = 0

    def __init__(self, settle_ns: int) -> None:
        self._settle_s = settle_ns / 1e9

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        """Call ``on_ready`` after the settle time."""
        gevent.spawn_later(self._settle_s, lambda: on_ready(now_ns()))

    def proven(self, channel: str) -> None:
        """Do nothing, as the readiness of a subscription depends on time only."""

    def probed_since_ns(self, channel: str) -> int | None:
        """Return None, as nothing is probed."""
        return None

    def withdraw(self, channel: str) -> None:
        """Do nothing, as the readiness of a subscription depends on time only."""

    def stop(self) -> None:
        """Do nothing, as there are no probes to stop."""
