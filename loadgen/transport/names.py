"""Host names that are not sent to a resolver."""


def connect_host(host: str) -> str:
    """Return 127.0.0.1 for a name under `localhost` (RFC 6761, 6.3), and any other host unchanged.

    Local emulators use names such as `x.localhost`. Browsers and curl treat them as loopback, but the C library asks a
    name server.
    """
    return "127.0.0.1" if host.lower().rstrip(".").endswith(".localhost") else host
