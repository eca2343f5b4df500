"""A message that a client sends to open its connection, with the client's own login filled in."""

from collections.abc import Mapping

from loadgen.protocol.base import UnfitLoginError
from loadgen.protocol.generic.frames import Frame, Written
from loadgen.protocol.generic.login import FileLogin


class LoginFrame:
    """A template in which a client's login is filled in each time it is sent, since a token may be renewed.

    `repr` shows no secret.
    """

    __slots__ = ("_environment", "_login", "_place", "_written")

    def __init__(
        self, written: Written, environment: Mapping[str, str], login: FileLogin | None, place: str
    ) -> None:
        """``place`` names the template in sentences, as in `opening.1`; ``login`` is None if the client has none."""
        self._written, self._environment, self._login, self._place = written, environment, login, place

    def render(self) -> bytes:
        """Return the bytes to send.

        Raises:
            UnfitLoginError: the client has no login, or the message cannot hold one of the login's values.
        """
        if self._login is None:
            raise UnfitLoginError(
                f"{self._place} of the protocol file needs a login, and the client has none"
            )
        try:
            return Frame(self._written, self._environment, self._login.values()).render()
        except UnfitLoginError as error:
            raise UnfitLoginError(f"{self._place} of the protocol file: {error}") from None
