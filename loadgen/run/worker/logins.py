"""The logins of a worker's clients: each client's service with its credential, and the handling of refused logins."""

from collections.abc import Callable
from typing import Final

from loadgen.credentials.allowed import Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode, RunError
from loadgen.protocol.base import Service, UnfitLoginError
from loadgen.resolve import ClientPlan, ResolvedRun
from loadgen.run.group_logins import makers, name_of
from loadgen.run.master_messages import Begin
from loadgen.run.worker.context import Context
from loadgen.users.worker import Progress

#: Largest share of the clients with own logins that may be refused before the run ends; a single refusal never ends it.
MOST_SHUT_OUT: Final = 0.05


class OwnLogins:
    """Implements `loadgen.users.worker.Logins` for one worker."""

    def __init__(
        self,
        run: ResolvedRun,
        service: Service,
        host: str,
        *,
        allowed: Allowed,
        whose: str | None,
        workers: int,
        progress: Progress,
        report_error: Callable[[str, bool], None],
        on_note: Callable[[str], None],
    ) -> None:
        """``on_note`` is called with notes for the user; for the other arguments see `makers`.

        Raises:
            CredentialError: in the same cases as in `makers`.
        """
        self._run, self._service = run, service
        self._progress, self._report_error, self._on_note = progress, report_error, on_note
        self._groups, self._makers = makers(
            run,
            host,
            allowed=allowed,
            whose=whose,
            workers=workers,
            on_trouble=self._on_trouble,
        )
        #: Services with credentials: in `_services` by the number of a client with its own login, in `_common` by the
        #: name of a group whose clients share a login.
        self._services: dict[int, Service] = {}
        self._common: dict[str, Service] = {}
        #: Names of the clients whose tokens are fetched, and so have to be renewed.
        self._names: dict[int, str] = {}
        self._shut_out: set[int] = set()
        self._shut_connections: set[int] = set()
        self._shut_subscriptions: set[int] = set()
        self._unpublished: set[int] = set()
        own = sum(group.count for group in run.groups if group.logins is not None and group.logins.columns)
        self._most_shut_out = max(1.0, MOST_SHUT_OUT * own / workers)

    def obtain(self, client: ClientPlan) -> str | None:
        """Fetch the login of the client or of its group; return why that failed, or None."""
        group = self._groups.get(client.group)
        if group is None or client.number in self._services:
            return None
        try:
            if not group.own:
                if client.group not in self._common:
                    self._common[client.group] = self._service.for_client(group.logins(client))
                return None
            if group.fetches:
                self._names[client.number] = name_of(client)
            self._services[client.number] = self._service.for_client(group.logins(client))
        except (CredentialError, UnfitLoginError) as error:
            reason = f"there is no login: {error}"
            self.refused(client, reason)
            return reason
        return None

    def service(self, client: ClientPlan) -> Service:
        """Return the service with the client's login."""
        found = self._services.get(client.number)
        return self._common.get(client.group, self._service) if found is None else found

    def own(self, client: ClientPlan) -> bool:
        """Return True if the client has a login of its own."""
        group = self._groups.get(client.group)
        return group is not None and group.own

    def refused(self, client: ClientPlan, told: str, subscription: int | None = None) -> None:
        """Count a client whose own login was refused; end the run if too many were (see `Logins.refused`)."""
        if subscription is None:
            connects = self._run.group(client.group).holds_connections
            self._shut_connections |= {client.number} if connects else set()
            self._shut_subscriptions.update(plan.number for plan in client.subscriptions)
        else:
            self._shut_subscriptions.add(subscription)
        self._shut_out.add(client.number)
        self._progress.shut_connections = len(self._shut_connections)
        self._progress.shut_subscriptions = len(self._shut_subscriptions)
        self.note(client, told)
        count = len(self._shut_out)
        if count > self._most_shut_out:
            self._report_error(f"{count:,} clients, the latest being {name_of(client)}: {told}", True)

    def note(self, client: ClientPlan, told: str) -> None:
        """Report a client that has its own login; the sentence ``told`` says what happened to it."""
        sentence = f"{name_of(client)}: {told}"
        self._report_error(sentence, False)
        self._on_note(sentence)

    def publish_refused(self, client: ClientPlan, told: str) -> None:
        """Report the first refused publish of each client with its own login."""
        if self.own(client) and client.number not in self._unpublished:
            self._unpublished.add(client.number)
            self.note(client, f"a publish was refused: {told}")

    def stop(self) -> None:
        """Stop renewing tokens."""
        for each in self._makers:
            each.stop()

    def _on_trouble(self, number: int, said: str) -> None:
        sentence = f"{self._names.get(number, f'client {number}')}: {said}"
        self._report_error(sentence, False)
        self._on_note(sentence)


def own_logins(
    begin: Begin,
    context: Context,
    allowed: Allowed,
    progress: Progress,
    report_error: Callable[[str, bool], None],
    on_note: Callable[[str], None],
) -> OwnLogins:
    """Return the logins of a worker's clients; raises RunError if this worker cannot use them."""
    try:
        return OwnLogins(
            begin.run,
            context.service,
            context.host,
            allowed=allowed,
            whose=context.logins_from,
            workers=begin.workers,
            progress=progress,
            report_error=report_error,
            on_note=on_note,
        )
    except (CredentialError, ValueError) as error:
        raise RunError(str(error), ExitCode.USAGE) from None
