"""What an Event API is made of: namespaces, authorization and quotas, ready to run."""

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
    """One Event API; made from names by :meth:`simple`, from a file by `loadgen.server.api_file`, or in Python."""

    namespaces: Sequence[Namespace]
    authorizers: Sequence[Authorizer]
    allowed: AllowedModes = _KEY_EVERYWHERE

    @classmethod
    def simple(cls, namespaces: Sequence[str], api_key: str) -> Self:
        """Return an API with the namespaces and one key that may do everything."""
        return cls([Namespace(name) for name in namespaces], [ApiKeyAuthorizer([api_key])])
