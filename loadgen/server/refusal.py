"""The one way in which the server says no."""

from http import HTTPStatus

from loadgen.protocol.appsync.errors import WireError


class RefusedError(Exception):
    """An operation is refused; `error` is what the client is told, `status` goes with it over HTTP."""

    def __init__(self, error: WireError, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = int(status)
