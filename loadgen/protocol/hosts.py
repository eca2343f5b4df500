"""What the name of a host says by itself."""

import ipaddress


def is_loopback(hostname: str) -> bool:
    """Whether the name says that it is this machine; a name of one's own that leads here does not."""
    name = hostname.rstrip(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
