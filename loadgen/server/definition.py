"""The definition of an Event API as objects: namespaces, authorizers and allowed modes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from loadgen.server.auth.access import AllowedModes
from loadgen.server.auth.api_key import ApiKeyAuthorizer
from loadgen.server.auth.base import Authorizer
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace

_KEY_ONLY = frozenset({Mode.API_KEY})
_KEY_EVERYWHERE = AllowedModes(_KEY_ONLY, _KEY_ONLY, _KEY_ONLY)


@dataclass(frozen=True, slots=True)
class ApiDefinition:
    """The definition of one Event API.

    :meth:`simple` makes it from the names of namespaces, and `loadgen.server.api_file` from a file. A program may also
    construct it directly.
    """

    namespaces: Sequence[Namespace]
    authorizers: Sequence[Authorizer]
    allowed: AllowedModes = _KEY_EVERYWHERE

    @classmethod
    def simple(cls, namespaces: Sequence[str], api_key: str) -> Self:
        """Return an API with the namespaces and one API key that is allowed every operation."""
        return cls([Namespace(name) for name in namespaces], [ApiKeyAuthorizer([api_key])])
