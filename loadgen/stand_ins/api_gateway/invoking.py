"""Run the gateway's backend in a separate process, and track the invocations that wait for its answers."""

import asyncio
from typing import Final

from loadgen import subprocesses
from loadgen.stand_ins.api_gateway import link

_MODULE: Final = "loadgen.stand_ins.api_gateway.backend"
_STOP_S: Final = 2.0


class BackendGoneError(Exception):
    """The backend's process has ended."""


class BackendProcess:
    """The backend as a process of its own, so that its CPU time is not the gateway's."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[link.Answer]] = {}
        self._number = 0

    async def start(self, start: link.Start) -> None:
        """Start the process; raises OSError."""
        command = subprocesses.command(_MODULE)
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=subprocesses.environment(),
            limit=link.LINE_MAX_BYTES,
            # In its own session, the backend gets no Ctrl-C from the terminal. The gateway ends it after its own work.
            start_new_session=True,
        )
        self._write(link.encode(start))
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int | None:
        """The process id, or None before the start."""
        return None if self._process is None else self._process.pid

    async def invoke(
        self, route: str, connection: str = "", body: str = "", subject: str | None = None
    ) -> link.Answer:
        """Return the backend's answer.

        Raises:
            BackendGoneError: the process has ended.
        """
        self._number += 1
        number = self._number
        waiting: asyncio.Future[link.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._write(link.encode(link.Invocation(number, route, connection, body, subject)))
            return await waiting
        finally:
            del self._waiting[number]

    async def stop(self) -> None:
        """End the process, and wait until it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    def _write(self, line: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            raise BackendGoneError
        process.stdin.write(line + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        stdout = self._process.stdout
        try:
            while line := await stdout.readline():
                answer = link.answer(line)
                waiting = self._waiting.get(answer.number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        finally:
            for each in self._waiting.values():
                if not each.done():
                    each.set_exception(BackendGoneError())
