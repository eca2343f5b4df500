"""Loading aiohttp for a server: without what only a client needs."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_authorities() -> Iterator[None]:
    """Have TLS contexts that are made meanwhile know no authority: such a client trusts nobody.

    aiohttp makes two for its clients while it is loaded, and to read the system's authorities takes 0.05 s of CPU time.
    """

    def nothing(*_: Any, **__: Any) -> None:
        return

    names = ("load_default_certs", "set_default_verify_paths")
    # Those of the class alone: what it has of its base is found again once its own is gone.
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
