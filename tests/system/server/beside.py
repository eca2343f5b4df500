"""Run a server in a thread of this process, with files as configuration, to save starting an interpreter."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadgen.server.config import ServerConfig
from loadgen.server.lifecycle import Server, urls
from loadgen.server.process import Announcement

_TIMEOUT_S = 60


@contextmanager
def beside(*, api_file: Path | None = None, faults: Path | None = None) -> Iterator[Announcement]:
    """Run a server until the block ends; yield its announcement."""
    config = ServerConfig.from_options(
        api_key_env=None, api_file=api_file, quotas=None, faults=faults, environment={}, namespaces=None
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_TIMEOUT_S)

    async def made() -> Server:
        return Server(config)

    try:
        server = run(made())
        http_url, ws_url = urls(config, run(server.start()))
        try:
            yield Announcement(http_url, ws_url, config.api_key, os.getpid())
        finally:
            run(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_TIMEOUT_S)
        loop.close()
