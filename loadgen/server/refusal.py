"""The exception for every operation that the server refuses."""

from http import HTTPStatus

from loadgen.protocol.appsync.errors import WireError


class RefusedError(Exception):
    """An operation is refused. `error` is sent to the client; `status` is the HTTP status for it."""

    def __init__(self, error: WireError, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = int(status)
