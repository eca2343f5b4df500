"""Check that a target answers and accepts the login, before any load is sent."""

import random
import time
from collections.abc import Mapping, Sequence

import gevent

from loadgen.client.event_client import EventClient, NoAnswerError, ServiceRefusedError
from loadgen.console import say
from loadgen.credentials.errors import CredentialError
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.protocol.base import Service, UnfitLoginError
from loadgen.protocol.refusals import Kind, Refusal
from loadgen.resolve import ClientPlan, Clients, ResolvedRun
from loadgen.resolve.rows import ClientRows
from loadgen.run.group_logins import GroupMakers, name_of
from loadgen.run.target import Target
from loadgen.transport import bounded, proxy
from loadgen.transport.dialing import Dialer, ForbiddenAddressError
from loadgen.transport.errors import TransportError, UnreadableError

CHECK_TIMEOUT_S = 10.0
#: First and longest wait (s) between attempts to log in to a target that throttles.
_FIRST_WAIT_S, _MOST_WAIT_S = 0.5, 5.0


#: Number of clients whose own logins are tried; the check fails only if the target refuses every one of them.
_CLIENTS_TRIED = 3


def first_clients(
    run: ResolvedRun, tables: Tables, makers: Mapping[str, GroupMakers]
) -> list[tuple[ClientPlan, GroupMakers]]:
    """Return a few clients that connect with their own logins, or none if any client connects with the target's login.

    If all clients of the first group share a login, only one client is returned.
    """
    connecting = [group for group in run.groups if group.holds_connections]
    for group in connecting:
        if group.logins is None or group.logins.connect is None:
            return []
    if not connecting:
        return []
    group = connecting[0]
    clients = Clients(run, tables, ClientRows(run, tables))
    count = min(group.count, _CLIENTS_TRIED) if makers[group.name].own else 1
    return [(clients.client(group.first + index), makers[group.name]) for index in range(count)]


def check(
    target: Target,
    patience_s: float = CHECK_TIMEOUT_S,
    first: Sequence[tuple[ClientPlan, GroupMakers]] = (),
) -> None:
    """Make one test login and one HTTP request, to find mistakes before thousands of clients repeat them.

    The HTTP request is skipped if the service has no HTTP endpoint. If the target throttles, retry for up to
    ``patience_s`` seconds. If ``first`` names clients, try their logins instead of the target's, until one is accepted.

    Raises:
        RunError: the target is unreachable or refuses (exit code 4), or may not be used as given (exit code 2).
    """
    service, dialer = target.service(), Dialer(allow_remote=target.allow_remote)
    refused: RunError | None = None
    for client, makers in first:
        try:
            of_client = service.for_client(makers.logins(client))
        except (CredentialError, UnfitLoginError) as error:
            refused = refused or RunError(f"{name_of(client)}: there is no login: {error}", ExitCode.TARGET)
            continue
        try:
            _patiently(target, of_client, dialer, patience_s, client)
        except RunError as error:
            refused = refused or error
            continue
        refused = None
        break
    if refused is not None:
        raise refused
    if not first:
        _patiently(target, service, dialer, patience_s)
    _knock(service, dialer)


def _patiently(
    target: Target, service: Service, dialer: Dialer, patience_s: float, client: ClientPlan | None = None
) -> None:
    deadline_s, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            _log_in(target, service, dialer, client)
            return
        except _NotNow as refused:
            left_s = deadline_s - time.monotonic()
            wait_s = max(wait_s, refused.refusal.retry_after_s or 0.0) * random.uniform(1.0, 1.25)
            if wait_s > left_s:
                raise RunError(
                    f"{refused}, and did so for {patience_s:g} s; {refused.refusal.advice}", ExitCode.TARGET
                ) from None
            say(f"{refused}; trying again in {wait_s:.1f} s")
            gevent.sleep(wait_s)
            wait_s = min(2 * wait_s, _MOST_WAIT_S)


class _NotNow(Exception):  # noqa: N818  may be retried
    """The target refuses the login for now; the text is the beginning of a sentence."""

    def __init__(self, text: str, refusal: Refusal) -> None:
        super().__init__(text)
        self.refusal = refusal


def _log_in(target: Target, service: Service, dialer: Dialer, whose: ClientPlan | None = None) -> None:
    """Connect and log in once; raises RunError if that fails, or _NotNow if a retry may help."""
    try:
        # Connect to the client's own channels: with some services the URL names the channel, and a client may connect
        # only to its own.
        channels = () if whose is None else [plan.channel for plan in whose.subscriptions]
        client = EventClient(service, channels=channels, dialer=dialer)
    except TransportError as error:  # The client cannot be created: its certificate is unusable, for example.
        raise RunError(str(error), ExitCode.USAGE) from None
    try:
        client.open(CHECK_TIMEOUT_S)
    except ForbiddenAddressError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
    except proxy.ProxyError as error:
        raise RunError(str(error), ExitCode.TARGET) from None
    except TransportError as error:
        if error.refusal is None:
            raise RunError(
                f"the target cannot be reached at {service.connect_url}: {error};"
                " check the URL and that the service is running",
                ExitCode.TARGET,
            ) from None
        raise _refused(target, service, str(error), error.refusal, whose) from None
    try:
        client.login(CHECK_TIMEOUT_S)
    except NoAnswerError as error:
        raise RunError(
            f"the target {service.connect_url} accepted the connection, but there was {error};"
            f" does it speak {target.protocol.title}?",
            ExitCode.TARGET,
        ) from None
    except (ServiceRefusedError, TransportError) as error:
        raise _refused(target, service, str(error), error.refusal, whose) from None
    finally:
        client.close()


def _refused(
    target: Target, service: Service, said: str, refusal: Refusal | None, client: ClientPlan | None = None
) -> Exception:
    """Return the error, with advice, for a refused login: of ``client``, or of the target if ``client`` is None."""
    said = said.rstrip(".")
    if refusal is not None and refusal.again:
        return _NotNow(f"the target {service.connect_url} does not let us in now: {said}", refusal)
    if refusal is not None and refusal.kind is Kind.UNSUITABLE:
        advice = refusal.advice
    elif client is not None:
        advice = "check the login of its group"
    elif target.login is not None:
        advice = f"check the {target.login.describe()} and that it has not expired"
    elif target.embedded:
        advice = "check the key"
    elif not target.protocol.logins or target.protocol.variables:
        advice = "compare 'connect' and 'opening' of the protocol file with what the service wants"
    else:
        advice = "perhaps it wants a login: see --auth"
    whom = "us" if client is None else name_of(client)
    return RunError(f"the target {service.connect_url} refused {whom}: {said}; {advice}", ExitCode.TARGET)


def _knock(service: Service, dialer: Dialer) -> None:
    """Make one HTTP request if the service has an HTTP endpoint; raises RunError if no readable answer comes."""
    if service.http_url is None:
        return
    try:
        bounded.ask("OPTIONS", service.http_url, timeout_s=CHECK_TIMEOUT_S, dialer=dialer)
    except ForbiddenAddressError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
    except UnreadableError as error:
        raise RunError(
            f"the target answers an HTTP request to {service.http_url} with what cannot be read: {error}",
            ExitCode.TARGET,
        ) from None
    except TransportError as error:
        raise RunError(
            f"the target cannot be reached at {service.http_url}: {error}", ExitCode.TARGET
        ) from None
