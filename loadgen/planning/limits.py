"""Check before a run that this machine has enough open files and local ports for it."""

from collections import defaultdict
from typing import Final
from urllib.parse import urlsplit

from loadgen.exits import ExitCode, RunError
from loadgen.transport import local_ports, proxy, sources
from loadgen.transport.errors import TransportError
from loadgen.transport.resolving import Resolver

#: File descriptors a process needs besides its connections: libraries, spool files, pipes, the gevent hub.
RESERVE = 64
_RESOLVE_S: Final = 10.0


def raise_open_files(wanted: int) -> int | None:
    """Raise the soft limit of open files to ``wanted`` or as far as allowed.

    Return the soft limit now in force, or None if there is none.
    """
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
    """Return the hard limit of open files, or None if there is no limit or the system does not report it."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def check_open_files(sockets: int, processes: int) -> None:
    """Refuse a run that needs more open files per process than the limit allows.

    Raises:
        RunError: the limit is too low (exit code 3, since the generator cannot make this load).
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


def check_local_ports(
    connect_url: str, websockets: int, http_url: str | None, http: int, given: sources.Sources
) -> None:
    """Refuse a run that needs more local ports than this machine has left; see `loadgen.transport.local_ports`.

    ``websockets`` connections go to ``connect_url`` and ``http`` to ``http_url``, or to their proxies, from the
    ``given`` source addresses. Hosts that do not resolve are skipped; the run reports them when it connects.

    Raises:
        RunError: too few ports are left (exit code 3, since the generator cannot make this load).
    """
    ports = local_ports.port_range()
    if ports is None:
        return
    resolver = Resolver()
    needed: dict[tuple[tuple[str, int], ...], int] = defaultdict(int)
    names: dict[tuple[tuple[str, int], ...], str] = {}
    for url, count in ((connect_url, websockets), (http_url, http)):
        if url is None or not count:
            continue
        try:
            host, port = _destination(url)
            places = tuple(
                sorted((str(each.address[0]), port) for each in resolver.addresses(host, port, _RESOLVE_S))
            )
        except (TransportError, ValueError):
            continue
        needed[places] += count
        names[places] = f"{host}:{port}"
    if not any(count > ports.count // 2 for count in needed.values()):
        # No destination needs more than half of the ports: skip the slow listing of open sockets.
        return
    in_use = list(local_ports.open_sockets())
    for places, count in needed.items():
        left = local_ports.room(places, given.addresses, ports, in_use)
        if count > left:
            raise RunError(
                f"the scenario needs {count:,} connections to {names[places]}, but this machine has only {left:,} local"
                f" ports left for them (ip_local_port_range is {ports.low} to {ports.high}): widen the range"
                " (`sysctl -w net.ipv4.ip_local_port_range='1024 65535'`), name more addresses to connect from with"
                f" {sources.VARIABLE}, or spread the load over more machines",
                ExitCode.INCONCLUSIVE,
            )


def _destination(url: str) -> tuple[str, int]:
    """Return the host and port to connect to for a URL: the proxy's if a proxy applies, else the URL's own."""
    if (through := proxy.route(url)) is not None:
        return through.host, through.port
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


_PORTS: Final = {"https": 443, "wss": 443, "mqtt": 1883, "mqtts": 8883}
