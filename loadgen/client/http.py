"""Publishes over HTTP, timed."""

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

from loadgen.client.event_client import TIMEOUT_S
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.transport.names import connect_host


class HttpPublisher:
    """A connection that is opened before the first publish, so that a publish's time is its own."""

    def __init__(self, service: Service) -> None:
        assert service.http_url is not None
        self._service = service
        self._url, self._headers = reachable(service.http_url)
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        """Connect; whether that worked shows with the first publish."""
        with suppress(httpx.HTTPError):
            self._client.options(self._url, headers=self._headers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._client.close()

    def post(self, channel: str, events: Sequence[str]) -> tuple[PublishAnswer, float]:
        """Publish a batch and return the answer and how long it took (s); raises httpx.HTTPError."""
        request = self._service.http_publish(channel, events)
        headers = {**self._headers, **request.headers}
        begun = time.perf_counter()
        url = self._url if request.resource is None else urljoin(self._url, request.resource)
        answer = self._client.request(request.method, url, content=request.body, headers=headers)
        return self._service.http_answer(answer.status_code, answer.content), time.perf_counter() - begun


def reachable(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL to ask and the headers that go with it: names under `localhost` need no resolver."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if connect_host(host) == host:
        return url, {}
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=connect_host(host) + port).geturl(), {"host": parts.netloc}
