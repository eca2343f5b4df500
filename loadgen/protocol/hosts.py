"""Recognise loopback hosts by their names."""

import ipaddress


def is_loopback(hostname: str) -> bool:
    """Return True for a loopback address, `localhost`, or a name below `localhost`, in upper or lower case.

    Names are not resolved. `::ffff:127.0.0.1`, the IPv4-mapped IPv6 address of 127.0.0.1, counts as loopback.
    """
    name = hostname.rstrip(".").lower()
    try:
        found = ipaddress.ip_address(name)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return (mapped or found).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
