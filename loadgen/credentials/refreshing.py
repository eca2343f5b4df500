"""A token that is renewed before it expires, without a request ever waiting for it while the old one is good."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loadgen.credentials.errors import CredentialError

MARGIN_MAX_S: Final = 300.0
"""Renewal begins so long before the expiry, or at four fifths of the lifetime where that is later."""

_RETRY_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token and when it expires (seconds since the epoch); None: unknown or never."""

    token: str = field(repr=False)
    expires_s: float | None = None


class RefreshingToken:
    """Callable that returns the token to use now.

    The first call fetches. Later ones return what there is; once renewal is due, the call that notices begins it in a
    thread (under Locust, where threads are greenlets, in one of those) and returns the old token. A token that could
    not be renewed is used past its expiry, so that the service's own answer goes on record, and renewal is tried again
    every few seconds.
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
        """Return the token.

        Raises:
            CredentialError: the first one cannot be had.
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
            # A source that still gives the old token is asked again soon, not in a loop.
            self._renew_at_s = max(fetched.expires_s - min(MARGIN_MAX_S, lifetime_s / 5), now_s + 1.0)
