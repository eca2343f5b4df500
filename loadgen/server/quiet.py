"""Limit the log of the HTTP library to one line a minute, without tracebacks for faults of clients.

A client can send invalid HTTP or break off a request hundreds of times a second, which is not a failure of the server.
A failure of the server itself keeps its traceback, and is also logged at most once a minute.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

INTERVAL_S: Final = 60.0
_CLIENTS_DOING: Final = (HttpProcessingError, RequestPayloadError, ConnectionError, TimeoutError)


class EveryMinute(logging.Filter):
    """Passes one record a minute, with a count of the suppressed ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next_s = 0.0
        self._untold = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        now_s = self._clock()
        if now_s < self._next_s:
            self._untold += 1
            return False
        untold, self._untold = self._untold, 0
        self._next_s = now_s + INTERVAL_S
        if untold:
            record.msg, record.args = f"{record.getMessage()}; {untold} more since this was last said", ()
        return True


class OneLineAMinute(logging.Filter):
    """Passes one log record a minute for client faults and one for server failures, with the number suppressed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next_s = {True: 0.0, False: 0.0}
        self._untold = {True: 0, False: 0}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged, after rewriting its text."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        clients = error is None or isinstance(error, _CLIENTS_DOING)
        now_s = self._clock()
        if now_s < self._next_s[clients]:
            self._untold[clients] += 1
            return False
        untold, self._untold[clients] = self._untold[clients], 0
        self._next_s[clients] = now_s + INTERVAL_S
        more = f"; {untold} more since this was last said" if untold else ""
        if clients:
            # Never log a client's request, since it may contain a key.
            kind = type(error).__name__ if error is not None else "it is not HTTP"
            record.msg = f"a client's request was refused or broke off ({kind}){more}"
            record.exc_info = record.exc_text = None
        else:
            record.msg = f"a request failed here: please report this{more}"
        record.args = ()
        return True


def logger() -> logging.Logger:
    """Return the logger for the HTTP library, limited by :class:`OneLineAMinute`."""
    found = logging.getLogger("loadgen.server.http")
    if not any(isinstance(each, OneLineAMinute) for each in found.filters):
        found.addFilter(OneLineAMinute())
    return found
