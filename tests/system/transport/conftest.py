"""Fixtures with servers in separate processes, as in tests/transport."""

from tests.transport.conftest import plain_server, tls_server, trusted
from tests.transport.kinds import inlet_kind

__all__ = ["inlet_kind", "plain_server", "tls_server", "trusted"]
