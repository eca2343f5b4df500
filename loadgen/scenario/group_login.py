"""The logins of a group of clients: one for everything that they do, or one for each operation."""

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from loadgen.config.base import Part
from loadgen.config.units import problem
from loadgen.scenario.login import Login

OPERATIONS: Final = ("connect", "subscribe", "publish")
_ONE, _BY_OPERATION, _CHANNEL = "<one login>", "<logins by operation>", "<channel>"


class OperationLogins(Part):
    """A login for each operation; the target's login applies to operations without one."""

    connect: Login | None = None
    """The login with which the clients connect."""
    subscribe: Login | None = None
    """The login of subscriptions that have none of their own."""
    publish: Login | None = None
    """The login with which the clients publish."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not any(getattr(self, operation) for operation in OPERATIONS):
            raise problem("is empty; give it connect, subscribe or publish")
        return self


class Subscription(Part):
    """A subscription with its own login."""

    channel: str
    """The channel, written in the same way as an entry that is only a channel."""
    login: Login | None = None
    """The login of this subscription; default is the group's login."""


def _form(value: object) -> str:
    if isinstance(value, OperationLogins):
        return _BY_OPERATION
    by_operation = isinstance(value, dict) and "mode" not in value and any(key in value for key in OPERATIONS)
    return _BY_OPERATION if by_operation else _ONE


def _entry_form(value: object) -> str:
    return _ONE if isinstance(value, dict | Subscription) else _CHANNEL


def _plain(value: Any) -> Any:
    """Reduce a subscription that has no login of its own to its channel."""
    return value["channel"] if isinstance(value, dict) and value.keys() == {"channel"} else value


GroupLogin = Annotated[
    Annotated[Login, Tag(_ONE)] | Annotated[OperationLogins, Tag(_BY_OPERATION)], Discriminator(_form)
]
Entry = Annotated[
    Annotated[str, Tag(_CHANNEL)] | Annotated[Subscription, Tag(_ONE)],
    Discriminator(_entry_form),
    BeforeValidator(_plain),
]


def login_for(login: Login | OperationLogins | None, operation: str) -> Login | None:
    """Return a group's login for an operation, or None if the target's login applies."""
    if isinstance(login, OperationLogins):
        found: Login | None = getattr(login, operation)
        return found
    return login
