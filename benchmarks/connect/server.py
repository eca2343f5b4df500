"""Accept connects and subscribes like an Event API, as cheaply as Python can: `server.py [AUTHORITY]`.

Prints its port and serves until standard input ends. Given a path AUTHORITY, it serves TLS and writes the certificate
of its authority to that path. It reads only the type and the id of each frame.
"""

import re
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import trustme
import uvloop
from speed.publish_server import ACK, HOST, Connection, framed, serve, unmasked

_ID = re.compile(rb'"id": ?"([^"]+)"')


class Subscribing(Connection):
    """One connection: answers the upgrade, then each `connection_init` and `subscribe`, and ignores other frames."""

    def answer(self, mask: bytes, payload: bytes) -> bytes:
        message = unmasked(mask, payload)
        if b"connection_init" in message:
            return framed(ACK)
        if b'"subscribe"' in message and (found := _ID.search(message)):
            return framed(b'{"type":"subscribe_success","id":"%b"}' % found[1])
        return b""


def _tls() -> ssl.SSLContext | None:
    if len(sys.argv) < 2:
        return None
    authority = trustme.CA()
    authority.cert_pem.write_to_path(sys.argv[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


if __name__ == "__main__":
    uvloop.run(serve(Subscribing, _tls()))
