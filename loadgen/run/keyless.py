"""A master without a key listens for this machine only."""

import ipaddress


def beyond_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from other machines."""
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
