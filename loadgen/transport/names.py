"""Host names that need no resolver."""


def connect_host(host: str) -> str:
    """Return where to connect for a host: names under `localhost` are loopback (RFC 6761, 6.3), others themselves.

    The C library asks a name server for `x.localhost`, browsers and curl do not; local emulators use such names.
    """
    return "127.0.0.1" if host.lower().rstrip(".").endswith(".localhost") else host
