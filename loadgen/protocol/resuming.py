"""Sessions that continue where the client's earlier connection was cut, such as event streams with `Last-Event-ID`."""

from loadgen.protocol.base import Handshake


class Resumable:
    """Base of sessions that can continue an earlier session of the same client; this base itself continues nothing."""

    __slots__ = ()

    @property
    def retry_s(self) -> float | None:
        """The wait before the next connection that the service has asked for (s), or None if it asked for none."""
        return None

    def resume(self, earlier: "Resumable") -> None:
        """Continue where ``earlier`` ended; call this before `continued` and before any message is received."""

    def continued(self, handshake: Handshake) -> Handshake:
        """Return the handshake, with the position from which the service should continue if the session has one."""
        return handshake
