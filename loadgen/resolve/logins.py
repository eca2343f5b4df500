"""Check the logins of a scenario's groups, and convert them to the form of a resolved run."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from loadgen.config.problems import Path, Problem
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.group import GroupLogins
from loadgen.resolve.transport import holds_connections
from loadgen.scenario.data import Data, no_source, split
from loadgen.scenario.group_login import OPERATIONS, OperationLogins, login_for
from loadgen.scenario.login import Login
from loadgen.scenario.login_columns import COLUMN_KEYS
from loadgen.scenario.models import Group

Groups = Mapping[str, Group]
Sources = Mapping[str, Data]

#: Login keys whose values must not contain secrets, with the reason: other users or servers can read these values.
_SHOWN_ELSEWHERE = {
    "token_command": "the words of a command, which every user of the machine can see",
    "token_url": "a URL, which servers and proxies log",
    "certificate": "the path of a file",
}


def logins_of(group: Group, rules: ProtocolRules) -> GroupLogins | None:
    """Return the logins of a group that differ from the target's, or None if it uses only the target's login."""
    given = {operation: login_for(group.login, operation) for operation in OPERATIONS}
    of_entries = [
        given["subscribe"] if isinstance(each, str) or each.login is None else each.login
        for each in group.subscriptions
    ]
    connects = holds_connections(group, rules)
    found = GroupLogins(
        connect=_data(given["connect"]) if connects else None,
        publish=_data(given["publish"]) if group.publish is not None and rules.logins_by_operation else None,
        subscribe=tuple(_data(each) if rules.logins_by_operation else None for each in of_entries),
    )
    return found if found.given else None


def _data(login: Login | None) -> dict[str, object] | None:
    return None if login is None else login.as_data()


def logins_in(clients: Groups) -> Iterator[tuple[Path, Login]]:
    """Yield each login of a group with its place in the scenario."""
    for name, group in clients.items():
        path: Path = ("clients", name, "login")
        if isinstance(group.login, OperationLogins):
            for operation in OPERATIONS:
                if (login := login_for(group.login, operation)) is not None:
                    yield (*path, operation), login
        elif group.login is not None:
            yield path, group.login
        for number, entry in enumerate(group.subscriptions):
            if not isinstance(entry, str) and entry.login is not None:
                yield ("clients", name, "subscribe", number, "login"), entry.login


def login_columns(group: Group) -> list[str]:
    """Return the columns that the logins of a group use, such as ``people.token``."""
    return list(dict.fromkeys(name for _, login in logins_in({"": group}) for name in login.columns))


def secrets_of(clients: Groups, data: Sources) -> dict[str, frozenset[str]]:
    """Return the secret columns of each data file, by the file's name.

    These are the columns that the scenario declares secret, and the columns from which logins take secrets.
    """
    found = {name: set(each.secret) for name, each in data.items()}
    for _, login in logins_in(clients):
        for name in login.secret_columns:
            meant = split(name)
            if meant is not None and meant[0] in found:
                found[meant[0]].add(meant[1])
    return {name: frozenset(columns) for name, columns in found.items()}


def check_logins(clients: Groups, data: Sources, protocol: TargetProtocol) -> Iterator[Problem]:
    """Yield the problems of the groups' logins."""
    secrets = secrets_of(clients, data)
    for name, group in clients.items():
        yield from _check_use(("clients", name), group, protocol.rules)
    for path, login in logins_in(clients):
        if not protocol.logins:
            yield Problem(
                path,
                f"cannot be: how clients log in to {protocol.title} stands in its protocol file, with secrets as"
                " {env:NAME}, the same for all clients; drop it",
            )
            continue
        if login.mode not in protocol.logins:
            modes = ", ".join(sorted(protocol.logins))
            yield Problem(
                (*path, "mode"),
                f"is {login.mode}, by which one cannot log in to {protocol.title}; modes for it are {modes}",
            )
        if login.mode == "certificate":
            yield Problem(
                path,
                "cannot be a certificate: the connections of a run share one; give it with --auth or as target.auth",
            )
        for key in COLUMN_KEYS:
            yield from _check_columns(path, key, login.columns_at(key), data, secrets)


def _check_use(path: Path, group: Group, rules: ProtocolRules) -> Iterator[Problem]:
    """Yield a problem for each login that a group cannot use."""
    login = group.login
    if isinstance(login, OperationLogins):
        if login.connect is not None and not holds_connections(group, rules):
            yield Problem(
                (*path, "login", "connect"),
                "cannot be: the group only publishes over HTTP and opens no connection; drop it, or write 'publish'",
            )
        if login.subscribe is not None and not group.subscriptions:
            yield Problem(
                (*path, "login", "subscribe"), "cannot be: the group subscribes to nothing; drop it"
            )
        if login.publish is not None and group.publish is None:
            yield Problem((*path, "login", "publish"), "cannot be: the group publishes nothing; drop it")
        if not rules.logins_by_operation:
            for operation in ("subscribe", "publish"):
                if getattr(login, operation) is not None:
                    yield Problem(
                        (*path, "login", operation),
                        "cannot be: on this target the login of the connection counts for all that its client does;"
                        " write 'connect'",
                    )
    by_channel: dict[str, Login | None] = {}
    for number, entry in enumerate(group.subscriptions):
        channel, own = (entry, None) if isinstance(entry, str) else (entry.channel, entry.login)
        where: Path = (*path, "subscribe", number)
        if own is not None and not rules.logins_by_operation:
            yield Problem(
                (*where, "login"),
                "cannot be: on this target the login of the connection counts for all that its client does;"
                " write it as the group's login",
            )
        if by_channel.setdefault(channel, own) != own:
            yield Problem(where, "has the channel of an earlier entry with another login; keep one of them")


def _check_columns(
    path: Path, key: str, names: Iterable[str], data: Sources, secrets: Mapping[str, frozenset[str]]
) -> Iterator[Problem]:
    for name in dict.fromkeys(names):
        why = _why_wrong(name, key, data, secrets)
        if why is not None:
            yield Problem((*path, key), why)


def _why_wrong(name: str, key: str, data: Sources, secrets: Mapping[str, frozenset[str]]) -> str | None:
    meant = split(name)
    assert meant is not None
    source, column = meant
    if source not in data:
        return no_source(name, data)
    if key in _SHOWN_ELSEWHERE and column in secrets[source]:
        return f"has {{{name}}}, a secret column, in {_SHOWN_ELSEWHERE[key]}; use another column"
    return None


#: Returns why a value cannot be used, or None if it can. The reason never repeats the value, which may be secret.
Demand = Callable[[str], str | None]


def demands(group: Group) -> Iterator[tuple[Path, str, Demand]]:
    """Yield (path within the group, text, function that checks a value) for each login text that uses data columns."""
    for path, login in logins_in({"": group}):
        for key, demand in (
            ("token", _header),
            ("key", _header),
            ("username", _not_empty),
            ("password", _not_empty),
            ("token_url", _not_empty),
        ):
            value = getattr(login, key)
            if value is not None and login.columns_at(key):
                yield (*path[2:], key), value, demand


def _not_empty(text: str) -> str | None:
    return None if text else "it is empty"


def _header(text: str) -> str | None:
    if not text:
        return "it is empty"
    if not text.isascii() or not text.isprintable() or text != text.strip():
        return "it has characters that an HTTP header cannot hold"
    return None
