"""Confine masters and workers without a key to the loopback interface."""

import ipaddress


def beyond_loopback(host: str) -> bool:
    """Return True if an address to listen on or connect to reaches beyond this machine."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # The host is a name, which may resolve to any address, or * for all addresses.
        return True


def needs_key(host: str) -> str:
    """Return the error for a master without a key that would listen for other machines."""
    return (
        f"--master-bind-host {host} can be reached from other machines, and without a key whoever reaches it could join"
        " or disturb the run: give --join FILE here and to the workers (the file is made if there is none), or leave"
        " --master-bind-host at 127.0.0.1"
    )


def worker_needs_key(host: str) -> str:
    """Return the error for a worker without a key that would join a master on another machine."""
    return (
        f"--master-host {host} is another machine, and without a key whatever answers there could play the master: give"
        " --join with a copy of the master's join file"
    )
