"""Without a key a master listens for this machine only, and a worker joins a master of this machine only."""

import ipaddress


def beyond_loopback(host: str) -> bool:
    """Return whether an address to listen on or to connect to is more than this machine's."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # A name, or the * that is every address.
        return True


def needs_key(host: str) -> str:
    """Return the sentence for a master that would listen for other machines without a key."""
    return (
        f"--master-bind-host {host} can be reached from other machines, and without a key whoever reaches it could join"
        " or disturb the run: give --join FILE here and to the workers (the file is made if there is none), or leave"
        " --master-bind-host at 127.0.0.1"
    )


def worker_needs_key(host: str) -> str:
    """Return the sentence for a worker that would join a master elsewhere without a key."""
    return (
        f"--master-host {host} is another machine, and without a key whatever answers there could play the master: give"
        " --join with a copy of the master's join file"
    )
