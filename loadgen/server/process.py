"""Run a server in a subprocess.

This module imports neither asyncio nor aiohttp. The subprocess's standard input is a pipe from this process. The
subprocess stops when the pipe closes, so it ends when this process ends.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from loadgen import subprocesses

_KEY_VARIABLE: Final = "LOADGEN_SERVER_API_KEY"
_EOF_TIMEOUT_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 3.0


class ServerStartError(RuntimeError):
    """The server did not start; the message is the server's standard error."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """The line of JSON that a server prints when it is ready."""

    http_url: str
    ws_url: str
    api_key: str = field(repr=False)
    pid: int
    pids: Sequence[int] = ()
    """The process ids of the serving processes, usually only `pid`; empty if the server does not name them."""
    target: str = ""
    """The target's URL for `loadgen run --target`, if it is not `http_url`."""


class ServerProcess:
    """Context manager around `python -m loadgen.server`, or another module that is started and stopped like it.

    `options` are the module's command-line options. A given `api_key` is passed in the environment, never on the
    command line.

    Raises:
        ServerStartError: on entry, if the server does not start.
    """

    def __init__(
        self, options: Sequence[str] = (), *, api_key: str | None = None, module: str = "loadgen.server"
    ) -> None:
        self._options = list(options)
        self._module = module
        self._api_key = api_key
        self._process: subprocess.Popen[bytes] | None = None
        self.stderr_path: Path | None = None
        """The file with the server's standard error, deleted by `stop`."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Start the server and wait until it serves; ``meanwhile`` is called while it loads.

        Raises:
            ServerStartError: the server did not start.
        """
        self.announcement = self._start(meanwhile)

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None if it is not running."""
        return None if self._process is None else self._process.pid

    def poll(self) -> int | None:
        """Return the exit code of a server that ended by itself, negative for a signal; None if it has not ended."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> int | None:
        """Stop the server and return its exit code, or None if it was not running."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        # The server stops when its standard input ends, unless a fork of this process still holds the pipe open.
        code = _wait(process, _EOF_TIMEOUT_S)
        if code is None:
            process.terminate()
            code = _wait(process, _STOP_TIMEOUT_S)
        if code is None:
            process.kill()
            code = process.wait()
        process.stdout.close()
        if self.stderr_path is not None:
            self.stderr_path.unlink(missing_ok=True)
        return code

    def _start(self, meanwhile: Callable[[], object]) -> Announcement:
        command = subprocesses.command(self._module, "--announce", "--exit-with-stdin", *self._options)
        environment = subprocesses.environment()
        if self._api_key is not None:
            environment[_KEY_VARIABLE] = self._api_key
            command += ["--api-key-env", _KEY_VARIABLE]
        # Write standard error to a file: a pipe that nothing reads while the server runs would fill up and block the
        # server.
        handle, name = tempfile.mkstemp(prefix="loadgen-server-", suffix=".log")
        self.stderr_path = Path(name)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=handle,
                env=environment,
                # Ctrl-C on the terminal must not reach the server: this process first ends its own work and then stops
                # the server.
                start_new_session=True,
            )
        finally:
            os.close(handle)
        meanwhile()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            said = self.stderr_path.read_text(errors="replace").strip()
            self.stop()
            raise ServerStartError(said.removeprefix("loadgen server: ") or "the server ended without a word")
        return Announcement(**json.loads(line))


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
