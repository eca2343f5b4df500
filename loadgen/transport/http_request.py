"""Render HTTP/1.1 requests of one client."""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult

from loadgen.protocol.base import HttpRequest

#: Valid header names and values (RFC 9110, 5.1 and 5.5). Line breaks are invalid: they could smuggle in another header.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Requests:
    """Renders requests to one URL.

    The rendered headers of the last request are kept for the next one, since headers seldom change.
    """

    __slots__ = ("_head", "_headers", "_host_line", "_request_line", "_resource")

    def __init__(self, url: SplitResult) -> None:
        self._resource = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._request_line = f"POST {self._resource} HTTP/1.1\r\n".encode("latin-1")
        self._host_line = f"host: {_host_header(url.hostname or '', url.port, url.scheme == 'https')}\r\n"
        self._headers: Mapping[str, str] | None = None
        self._head = b""

    def rendered(self, request: HttpRequest) -> bytes:
        """Return the request's bytes; a request without a resource gets the path and query of the URL.

        Raises:
            ValueError: a header's name or value is not allowed in HTTP.
        """
        if request.headers != self._headers:
            self._head = self._lines(request.headers)
            self._headers = dict(request.headers)
        line = self._request_line
        if request.resource is not None or request.method != "POST":
            line = f"{request.method} {request.resource or self._resource} HTTP/1.1\r\n".encode("latin-1")
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (line, self._head, len(request.body), request.body)

    def _lines(self, headers: Mapping[str, str]) -> bytes:
        lines = [self._host_line, "user-agent: loadgen\r\n"]
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                # Leave the header's value out of the error, since it may be a secret.
                raise ValueError(f"no HTTP header can be named or hold this: {name!r}")
            lines.append(f"{name}: {value}\r\n")
        return "".join(lines).encode("latin-1")


def _host_header(host: str, port: int | None, secure: bool) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port in (None, 443 if secure else 80) else f"{bracketed}:{port}"
