"""Make the credentials of each group's clients, and describe the sources of logins in words."""

from collections.abc import Callable
from typing import Any

from loadgen.credentials.allowed import Allowed
from loadgen.credentials.clients import Maker, OnTrouble, maker
from loadgen.protocol.base import ClientLogins
from loadgen.resolve import ClientPlan, Group, ResolvedRun
from loadgen.scenario.login_columns import is_fetched


class GroupMakers:
    """Makes the credentials of the clients of one group."""

    def __init__(self, group: Group, make: Callable[[dict[str, Any]], Maker]) -> None:
        """``group`` must have logins of its own; ``make`` returns the credential maker for the data of a login."""
        assert group.logins is not None
        logins = group.logins
        self._connect = None if logins.connect is None else make(logins.connect)
        self._publish = None if logins.publish is None else make(logins.publish)
        self._subscribe = [None if each is None else make(each) for each in logins.subscribe]
        self._first = self._subscribe[0] if self._subscribe else None
        self._alike = all(each is self._first for each in self._subscribe)
        self.own = bool(logins.columns)
        #: True if any of the logins gets its token from a command, an endpoint or a user pool.
        self.fetches = any(map(is_fetched, logins.given))

    def logins(self, client: ClientPlan) -> ClientLogins:
        """Return the credentials of a client; may wait. Raises CredentialError."""
        # Operations with the same login share one credential, and so one token.
        made: dict[int, Any] = {}

        def of(maker: Maker | None) -> Any:
            if maker is None:
                return None
            if id(maker) not in made:
                made[id(maker)] = maker.of(client.number, client.values)
            return made[id(maker)]

        channels = None
        if not self._alike:
            channels = {
                plan.channel: of(each)
                for plan, each in zip(client.subscriptions, self._subscribe, strict=True)
                if each is not None
            }
        return ClientLogins(
            of(self._connect), of(self._first) if self._alike else None, of(self._publish), channels
        )


def makers(
    run: ResolvedRun,
    host: str,
    *,
    allowed: Allowed,
    whose: str | None,
    workers: int = 1,
    on_trouble: OnTrouble = lambda number, said: None,
) -> tuple[dict[str, GroupMakers], list[Maker]]:
    """Return the credential makers of each group with its own logins, by the group's name, and a list of all makers.

    ``whose`` says where the logins come from (an error sentence begins with it). If it is None, the logins need no
    permission.

    Raises:
        CredentialError: a login is not permitted here, or a secret that is common to all clients is missing.
    """
    if not any(group.logins for group in run.groups):
        return {}, []
    from loadgen.scenario.login import Login

    found: dict[str, Maker] = {}

    def make(data: dict[str, Any]) -> Maker:
        key = repr(data)
        if key not in found:
            login = Login.model_validate(data)
            if whose is not None:
                allowed.demand(login, whose, host)
            found[key] = maker(login, host, seed=str(run.seed), workers=workers, on_trouble=on_trouble)
        return found[key]

    by_group = {group.name: GroupMakers(group, make) for group in run.groups if group.logins is not None}
    return by_group, list(found.values())


def name_of(client: ClientPlan) -> str:
    """Return a client's name for people, with the row of its data: `client 3 of users (people.csv:5)`."""
    place = "" if client.place is None else f" ({client.place})"
    return f"client {client.index} of {client.group}{place}"


def described(run: ResolvedRun, *, by_operation: bool) -> dict[str, str]:
    """Return texts that say where each group's logins come from, without secrets; the run's manifest stores them.

    ``by_operation`` is False if the protocol logs in only when a client connects. Then only that login is described.
    """
    if not any(group.logins for group in run.groups):
        return {}
    from loadgen.scenario.login import Login

    files = {name: data.file for name, data in run.data.items()}

    def told(data: dict[str, Any] | None) -> str:
        return "the target's login" if data is None else Login.model_validate(data).describe(files)

    found = {}
    for group in run.groups:
        if group.logins is None:
            continue
        used = {
            "connect": [told(group.logins.connect)] if group.holds_connections else [],
            "subscribe": list(dict.fromkeys(map(told, group.logins.subscribe))),
            "publish": [] if group.publish is None else [told(group.logins.publish)],
        }
        if not by_operation:
            used = {"connect": used["connect"]}
        every = {source for sources in used.values() for source in sources}
        found[f"login of {group.name}"] = (
            every.pop()
            if len(every) == 1
            else "; ".join(f"{name} by {', '.join(sources)}" for name, sources in used.items() if sources)
        )
    return found
