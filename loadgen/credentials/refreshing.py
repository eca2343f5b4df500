"""Renew a token before it expires, without making a request wait while the old token is valid."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loadgen.credentials.errors import CredentialError

MARGIN_MAX_S: Final = 300.0
"""Renewal begins this many seconds before the expiry, or at four fifths of the lifetime if that is later."""

_RETRY_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token, and its expiry in seconds since the epoch or None if it is unknown or the token never expires."""

    token: str = field(repr=False)
    expires_s: float | None = None


class RefreshingToken:
    """A callable that returns the current token.

    The first call fetches the token, and later calls return it at once. The first call after renewal is due starts the
    renewal in a thread (under Locust a greenlet) and returns the old token. If the renewal fails, the old token stays
    in use past its expiry, so that the record shows how the service answers it, and renewal is tried again after 5 s.
    """

    def __init__(self, fetch: Callable[[], FetchedToken], clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._current: FetchedToken | None = None
        self._renew_at_s: float | None = None
        self._renewing = False
        self.renewals = 0

    def __call__(self) -> str:
        """Return the current token.

        Raises:
            CredentialError: the first token cannot be obtained.
        """
        current = self._current
        if current is None:
            with self._lock:
                if self._current is None:
                    self._take(self._fetch())
                current = self._current
                assert current is not None
        elif self._renew_at_s is not None and self._clock() >= self._renew_at_s and not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew, name="token-renewal", daemon=True).start()
        return current.token

    def _renew(self) -> None:
        try:
            self._take(self._fetch())
            self.renewals += 1
        except CredentialError as error:
            _log.warning("the token could not be renewed: %s", error)
            self._renew_at_s = self._clock() + _RETRY_S
        finally:
            self._renewing = False

    def _take(self, fetched: FetchedToken) -> None:
        self._current = fetched
        now_s = self._clock()
        self._renew_at_s = None
        if fetched.expires_s is not None:
            lifetime_s = max(fetched.expires_s - now_s, 0.0)
            # A source that still returns the old token is asked again after a second, not in a tight loop.
            self._renew_at_s = max(fetched.expires_s - min(MARGIN_MAX_S, lifetime_s / 5), now_s + 1.0)
