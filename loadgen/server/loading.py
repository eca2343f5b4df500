"""Import aiohttp for a server faster, by skipping work that only a client needs."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_authorities() -> Iterator[None]:
    """Within the block, let new TLS contexts load no certificate authorities; they then trust no server.

    aiohttp creates two client contexts on import, and loading the system's authorities takes 0.05 s of CPU time.
    """

    def nothing(*_: Any, **__: Any) -> None:
        return

    names = ("load_default_certs", "set_default_verify_paths")
    # Save only the methods that `SSLContext` itself defines: an inherited one reappears when `nothing` is deleted.
    own = {name: vars(ssl.SSLContext)[name] for name in names if name in vars(ssl.SSLContext)}
    for name in names:
        setattr(ssl.SSLContext, name, nothing)
    try:
        yield
    finally:
        for name in names:
            if name in own:
                setattr(ssl.SSLContext, name, own[name])
            else:
                delattr(ssl.SSLContext, name)
