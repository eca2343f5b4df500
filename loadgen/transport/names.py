"""Host names that are not sent to a resolver."""

import socket
from functools import cache
from typing import Final

_IPV4: Final = "127.0.0.1"
_IPV6: Final = "::1"


def is_under_localhost(host: str) -> bool:
    """Return True for a name below `localhost`, in any case and with or without a dot at its end."""
    return host.lower().rstrip(".").endswith(".localhost")


def loopback_addresses(host: str) -> tuple[str, ...]:
    """Return this machine's loopback addresses for a name under `localhost` (RFC 6761, 6.3), and none for others.

    Local emulators use names such as `x.localhost`. Browsers and curl treat them as loopback, but the C library asks a
    name server. `localhost` itself is left to the C library, which can always resolve it.
    """
    if not is_under_localhost(host):
        return ()
    return (_IPV4, _IPV6) if _has_ipv6() else (_IPV4,)


@cache
def _has_ipv6() -> bool:
    """Return True if this machine has the IPv6 loopback address.

    Without that address, a connect to `::1` fails with the same error as a connect without a free local port.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((_IPV6, 0))
    except OSError:
        return False
    return True
