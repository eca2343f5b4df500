"""Publish over HTTP and time the answer."""

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from loadgen.client.event_client import TIMEOUT_S, look_at_the_clock
from loadgen.client.frames import Frames
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient


class HttpPublisher:
    """An HTTP connection opened before the first publish, so that a publish's time excludes connecting.

    Answers are limited in size and time: see `loadgen.transport.bounds`.
    """

    def __init__(self, service: Service, dialer: Dialer | None = None, frames: Frames | None = None) -> None:
        """Make a publisher; ``dialer`` opens its socket (default: a dialer that may connect to any host).

        ``frames`` collects the sent and received messages.
        """
        assert service.http_url is not None
        self._service = service
        self._frames = frames
        dialer = dialer or Dialer(allow_remote=True)
        self._client = GeventHttpClient(service.http_url, 1, TIMEOUT_S, dialer=dialer)

    def __enter__(self) -> Self:
        """Connect by an OPTIONS request; a failure is ignored here and reported by the first publish."""
        look_at_the_clock()
        with suppress(TransportError):
            self._client.post(b"", {}, "OPTIONS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._client.abort()

    def post(self, channel: str, events: Sequence[str]) -> tuple[PublishAnswer, float]:
        """Publish a batch and return the answer and its latency (s); raises TransportError if there is no answer."""
        request = self._service.http_publish(channel, events)
        if self._frames is not None:
            assert self._service.http_url is not None
            self._frames.request(self._service.http_url, request)
        look_at_the_clock()
        begun = time.perf_counter()
        status, body = self._client.post(request.body, request.headers, request.method, request.resource)
        elapsed_s = time.perf_counter() - begun
        if self._frames is not None:
            self._frames.answer(status, body)
        return self._service.http_answer(status, body), elapsed_s
