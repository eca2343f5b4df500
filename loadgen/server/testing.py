"""An Event API for the tests of your own project: a pytest fixture, and the class behind it.

    from loadgen.server.testing import event_api  # noqa: F401  in conftest.py or the test module

    def test_greeting(event_api):
        my_application.configure(url=event_api.http_url, api_key=event_api.api_key)
        my_application.greet("Ada")
        (published,) = event_api.wait_for_events("/default/greetings")
        assert published.payload == {"hello": "Ada"}

The server speaks the real protocol on a loopback port. It runs in a thread of the test's process, so handlers and
authorizers may be functions of the test. This module needs pytest.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Self

import pytest

from loadgen.protocol.appsync.channels import matches, normalise
from loadgen.server.api_keys import generate_api_key
from loadgen.server.auth.access import AllowedModes
from loadgen.server.auth.api_key import ApiKeyAuthorizer
from loadgen.server.auth.base import Authorizer
from loadgen.server.config import ServerConfig
from loadgen.server.definition import ApiDefinition
from loadgen.server.handlers import OnPublish, OnSubscribe
from loadgen.server.hub import Counters, Hub
from loadgen.server.lifecycle import Server, urls
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace
from loadgen.server.quotas import Quotas

__all__ = ["LocalEventApi", "Namespace", "OnPublish", "OnSubscribe", "Published", "Quotas", "event_api"]

_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Published:
    """An event that was accepted and sent to the subscribers. `event` is its JSON after any publish handler ran."""

    channel: str
    event: str

    @property
    def payload(self) -> Any:
        """The event, parsed from JSON."""
        return json.loads(self.event)


class LocalEventApi:
    """Context manager that runs a server in a thread; a client needs its `http_url`, `ws_url` and `api_key`.

    Args:
        namespaces: names, or :class:`Namespace` objects with their own handlers and modes.
        authorizers: authorizers for modes other than the API key, which is always allowed. All their modes may
            connect, publish and subscribe, unless a namespace has its own modes.
        quotas: the quotas, such as `Quotas.aws()` for AWS's rates. By default only limits of a single request or
            connection apply.
        options: further settings of :class:`loadgen.server.config.ServerConfig`, such as `keepalive_interval_s`.
    """

    def __init__(
        self,
        namespaces: Sequence[str | Namespace] = ("default",),
        *,
        authorizers: Sequence[Authorizer] = (),
        quotas: Quotas | None = None,
        **options: Any,
    ) -> None:
        described = [Namespace(space) if isinstance(space, str) else space for space in namespaces]
        self.api_key = options.pop("api_key", None) or generate_api_key()
        modes = frozenset({Mode.API_KEY, *(authorizer.mode for authorizer in authorizers)})
        definition = ApiDefinition(
            described, [ApiKeyAuthorizer([self.api_key]), *authorizers], AllowedModes(modes, modes, modes)
        )
        self._config = ServerConfig(
            api_key=self.api_key,
            namespaces=tuple(space.name for space in described),
            definition=definition,
            quotas=quotas or Quotas(),
            **options,
        )
        self._hub = _RecordingHub(self._config.write_buffer_limit_bytes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-api", daemon=True)
        self._server: Server | None = None
        self.http_url = ""
        self.ws_url = ""

    def __enter__(self) -> Self:
        """Start the server; raises `loadgen.server.listening.StartError` if the port cannot be opened."""
        self._thread.start()
        try:
            self._server = self._run(self._make())
            self.http_url, self.ws_url = urls(self._config, self._run(self._server.start()))
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection and stop the server."""
        assert self._server is not None
        try:
            self._run(self._server.stop())
        finally:
            self._end_loop()

    @property
    def published(self) -> list[Published]:
        """All events so far, in the order in which they were sent to the subscribers."""
        return self._hub.published[:]

    @property
    def subscriptions(self) -> int:
        """The number of active subscriptions."""
        return len(self._hub)

    def wait_for_events(self, channel: str, count: int = 1, timeout_s: float = _TIMEOUT_S) -> list[Published]:
        """Return the first `count` events of a channel or pattern, waiting for them if necessary.

        Raises:
            TimeoutError: fewer events came within `timeout_s`; the message lists them.
        """
        pattern = normalise(channel)

        def found() -> list[Published]:
            return [entry for entry in self._hub.published if matches(pattern, entry.channel)]

        if not self._wait(lambda: len(found()) >= count, timeout_s):
            raise TimeoutError(f"{len(found())} of {count} events came to {channel}: {found()}")
        return found()[:count]

    def wait_for_subscriptions(self, count: int = 1, timeout_s: float = _TIMEOUT_S) -> None:
        """Wait until `count` subscriptions are active; raises TimeoutError after `timeout_s`."""
        if not self._wait(lambda: len(self._hub) >= count, timeout_s):
            raise TimeoutError(f"{len(self._hub)} of {count} subscriptions are active")

    def publish(self, channel: str, *payloads: Any) -> int:
        """Send events to a channel, bypassing authorization and handlers.

        Return the number of subscriptions that receive them.
        """

        async def give() -> int:
            return self._hub.publish(normalise(channel), [json.dumps(payload) for payload in payloads])

        matching: int = self._run(give())
        return matching

    async def _make(self) -> Server:
        return Server(self._config, self._hub)

    def _wait(self, condition: Any, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        return True

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(_TIMEOUT_S)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()


class _RecordingHub(Hub):
    """A hub that also keeps every event."""

    def __init__(self, write_buffer_limit_bytes: int) -> None:
        super().__init__(write_buffer_limit_bytes, Counters())
        self.published: list[Published] = []

    def publish(self, channel: str, events: Sequence[str]) -> int:
        """Deliver the events and keep them."""
        written = super().publish(channel, events)
        self.published.extend(Published(channel, event) for event in events)
        return written


@pytest.fixture
def event_api() -> Iterator[LocalEventApi]:
    """Yield a new Event API for one test, with the namespace `default` and an API key."""
    with LocalEventApi() as api:
        yield api
