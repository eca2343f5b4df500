"""Start and stop a server: signals, the ready announcement, and the exit codes."""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import web

from loadgen import garbage
from loadgen.protocol.appsync.endpoints import HTTP_PATH, REALTIME_PATH
from loadgen.server import quiet
from loadgen.server.api import EventApi
from loadgen.server.app import build_app
from loadgen.server.config import ServerConfig
from loadgen.server.hub import Counters, Hub
from loadgen.server.listening import Listeners, StartError, accept, listen
from loadgen.server.quotas import ApiRates

if TYPE_CHECKING:
    from loadgen.server.journal import Journal

EXIT_STOPPED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_SHUTDOWN_TIMEOUT_S: Final = 2.0


class Server:
    """A server in the running event loop; `start` opens the port, `stop` closes every connection and resource."""

    def __init__(self, config: ServerConfig, hub: Hub | None = None, rates: ApiRates | None = None) -> None:
        self._config = config
        if hub is None:
            hub, self._journal = _hub(config)
        else:
            self._journal = None
        self._hub = hub
        self.api = EventApi(config, hub, rates)
        self._runner = web.AppRunner(
            build_app(self.api),
            handle_signals=False,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            logger=quiet.logger(),
            # Do not decompress requests: 64 KB may become 64 MB, and no client of the service compresses (assumption).
            auto_decompress=False,
        )
        self._keeping: asyncio.Task[None] | None = None

    async def start(self, listeners: Listeners | None = None) -> int:
        """Open the port, or serve on ``listeners`` if given; return the port.

        Raises:
            StartError: the port cannot be opened.
        """
        if self._journal is not None:
            self._keeping = asyncio.get_running_loop().create_task(self._journal.keep())
        await self._runner.setup()
        if listeners is not None:
            return await accept(self._runner, listeners)
        return await listen(self._runner, self._config)

    async def stop(self) -> None:
        """Close every connection with 1001 (going away), and release the server's resources."""
        await self._runner.cleanup()
        self._hub.close()
        if self._journal is not None and self._keeping is not None:
            self._keeping.cancel()
            await _close(self._journal, self._keeping)


async def serve_alone(config: ServerConfig, *, announce: bool, exit_with_stdin: bool) -> None:
    """Serve in this process until a signal or the end of standard input; raises StartError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server(config)
    try:
        port = await server.start()
        if exit_with_stdin:
            watch_stdin(loop, stop)
        garbage.spare_existing()
        say_ready(config, port, [os.getpid()], announce=announce)
        await stop.wait()
    finally:
        await server.stop()
    report_dropped(server)


def report_dropped(server: Server) -> None:
    """Print on standard error how many slow clients were dropped, if any."""
    if dropped := server.api.counters.slow_readers_aborted:
        print(f"loadgen server: dropped {dropped} connections that did not read fast enough", file=sys.stderr)


async def _close(journal: "Journal", keeping: "asyncio.Task[None]") -> None:
    """Write the rest of the server's record of deliveries and close it; print an error if rows are missing."""
    try:
        await keeping
    except asyncio.CancelledError:
        pass
    except OSError as error:
        print(f"loadgen server: the journal breaks off: {error}", file=sys.stderr)
    try:
        journal.close()
    except OSError as error:
        print(f"loadgen server: the journal lacks its end: {error}", file=sys.stderr)


def _hub(config: ServerConfig) -> "tuple[Hub, Journal | None]":
    """Return the hub for the settings, and its journal (the record of its deliveries and faults) or None."""
    if config.faults is None and config.journal is None:
        return Hub(config.write_buffer_limit_bytes, Counters()), None
    from loadgen.server.faults.injector import FaultingHub
    from loadgen.server.faults.settings import Faults
    from loadgen.server.journal import Journal, NoJournal

    faults = config.faults or Faults()
    journal = None
    if config.journal is not None:
        try:
            settings = faults.model_dump(mode="json", by_alias=True)
            journal = Journal(config.journal, settings, config.place)
        except OSError as error:
            raise StartError(
                f"the journal folder {str(config.journal)!a} cannot be written ({error.strerror}): choose another"
            ) from None
    return FaultingHub(config.write_buffer_limit_bytes, Counters(), faults, journal or NoJournal()), journal


def urls(config: ServerConfig, port: int) -> tuple[str, str]:
    """Return the HTTP URL and the realtime URL of a server that listens on ``port``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    secure = "s" if config.tls else ""
    return f"http{secure}://{authority}{HTTP_PATH}", f"ws{secure}://{authority}{REALTIME_PATH}"


def say_ready(config: ServerConfig, port: int, pids: Sequence[int], *, announce: bool) -> None:
    """Print the server's URLs and key, as JSON if `announce` else as text; `pids` are the serving processes."""
    http_url, ws_url = urls(config, port)
    if announce:
        ready = {
            "http_url": http_url,
            "ws_url": ws_url,
            "api_key": config.api_key,
            "pid": os.getpid(),
            "pids": list(pids),
        }
        print(json.dumps(ready), flush=True)
        return
    # Do not show a given key on the terminal: the user knows it.
    processes = f"  processes   {len(pids)}\n" if len(pids) > 1 else ""
    key = f"the one in {config.api_key_source}" if config.api_key_source else config.api_key
    print(
        "AppSync Events server is ready; stop it with Ctrl-C.\n"
        f"  publish     {http_url}\n"
        f"  realtime    {ws_url}\n"
        f"  API key     {key}\n"
        f"  namespaces  {', '.join(config.namespaces)}\n"
        f"{processes}"
        f"  editor      {_editor_url(config, http_url)}",
        flush=True,
    )


def _editor_url(config: ServerConfig, http_url: str) -> str:
    """Return the URL of the editor page, with a generated key in the fragment, which browsers do not send."""
    page = http_url.removesuffix(HTTP_PATH) + "/"
    return page if config.api_key_source else f"{page}#key={config.api_key}"


def watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends, so that the server does not outlive the process at the pipe's other end."""

    def wait_for_end() -> None:
        # Read by os.read in a thread: the event loop cannot poll /dev/null, and sys.stdin's lock would delay the exit.
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:
            return  # the loop is closed: the server has stopped on its own

    threading.Thread(target=wait_for_end, name="stdin-watch", daemon=True).start()


def raise_open_file_limit() -> None:
    """Raise the limit on open files, which also limits sockets, to the maximum that this user may set."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return  # keep the limit: macOS may report "unlimited" as the maximum, but refuse to set it


def silence_handshake_log() -> None:
    """Keep keys out of the log: aiohttp's warning about an unknown subprotocol quotes all offered subprotocols."""
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """Return uvloop's event loop class, or None to use asyncio's default loop."""
    try:
        import uvloop
    except ImportError:
        return None  # uvloop does not exist for Windows, so asyncio's default loop is used
    return uvloop.Loop
