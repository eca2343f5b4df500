"""Publish to a server over HTTP with httpx, a client that is not ours."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from loadgen.protocol.appsync import messages
from loadgen.server.process import Announcement


def post(
    api: Announcement, channel: str, *events: str, headers: Mapping[str, str] | None = None, **options: Any
) -> httpx.Response:
    """Publish events, given as JSON texts; ``options`` are passed to httpx."""
    return post_body(api, messages.publish_request(channel, events), headers=headers, **options)


def post_body(
    api: Announcement,
    body: Any,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> httpx.Response:
    """Post a body, encoded as JSON unless it is bytes; ``key`` defaults to the API key of the server, ``api``."""
    content = body if isinstance(body, bytes) else json.dumps(body)
    its = {"x-api-key": key or api.api_key, **(headers or {})}
    return httpx.post(api.http_url, content=content, headers=its, **options)
