"""What the name of a host says by itself."""

import ipaddress


def is_loopback(hostname: str) -> bool:
    """Whether a name or IP address says that it is this machine; a name of one's own that leads here does not.

    `::ffff:127.0.0.1` is 127.0.0.1 in IPv6's clothes.
    """
    name = hostname.rstrip(".")
    try:
        found = ipaddress.ip_address(name)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return (mapped or found).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
