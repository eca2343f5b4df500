"""Whether this machine can carry what is asked, before it is tried."""

from loadgen.run.exits import ExitCode, RunError

#: Descriptors that a process needs besides its connections: libraries, spool files, pipes, the hub.
RESERVE = 64


def raise_open_files(wanted: int) -> int | None:
    """Raise the soft limit of open files as far as needed and allowed; return it, or None where there is none."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return None if soft == resource.RLIM_INFINITY else soft


def hard_limit() -> int | None:
    """Return how many files a process may be allowed to open; None: no limit, or the system does not tell."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def check_open_files(sockets: int, processes: int) -> None:
    """Refuse a run whose connections do not fit the limit of open files.

    Raises:
        RunError: exit code 3: the generator cannot carry the claim.
    """
    each = -(-sockets // processes) + RESERVE
    allowed = raise_open_files(each)
    if allowed is not None and allowed < each:
        noun = "process" if processes == 1 else "processes"
        raise RunError(
            f"the scenario needs {sockets:,} connections, {each:,} open files in each of {processes} {noun}, but"
            f" only {allowed:,} are allowed: raise the limit (`ulimit -n {each}`, or LimitNOFILE for a service) or"
            " spread the load over more workers",
            ExitCode.INCONCLUSIVE,
        )
