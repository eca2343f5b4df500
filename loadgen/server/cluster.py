"""Run one server as several processes: start them, watch them and stop them together.

The parent opens the sockets, forks the serving processes and serves nothing itself. It has a control stream to each
serving process. Over this stream the process reports that it accepts connections, or that a signal asked it to stop.
The parent closes its side to stop the process. If the process at one end is killed, the other sees the end of the
stream and stops, so no process outlives the others.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from loadgen import garbage
from loadgen.server import lifecycle, listening, relay
from loadgen.server.config import ServerConfig
from loadgen.server.hub import Counters
from loadgen.server.listening import Listeners, StartError
from loadgen.server.quotas import ApiRates
from loadgen.server.relay import RelayingHub
from loadgen.server.shared_bucket import SharedTokenBucket

_READY: Final = b"R"
_STOP: Final = b"S"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_STOP_TIMEOUT_S: Final = 6.0
"""Time that a process has to stop before it is killed; closing the connections of silent clients takes less."""


@dataclass(frozen=True)
class _Place:
    """The sockets that the parent gives to one serving process: control stream, listeners, and streams to its peers."""

    control: socket.socket
    listeners: Listeners
    ends: Sequence[socket.socket]

    def close(self) -> None:
        self.control.close()
        self.listeners.close()
        for end in self.ends:
            end.close()


@dataclass
class _Member:
    """The parent's record of one serving process."""

    pid: int
    control: socket.socket
    ready: bool = False
    ended: bool = False
    failed: bool = False
    """True if the process ended before the server was asked to stop."""


def serve(config: ServerConfig, *, announce: bool, exit_with_stdin: bool) -> int:
    """Run the server's processes until SIGINT, SIGTERM or, if asked, the end of standard input; return the exit code.

    Call it before an event loop or another thread exists, since neither survives a fork intact.

    Raises:
        StartError: the system is not Linux, the port cannot be opened, or the processes cannot be started.
    """
    if sys.platform != "linux":
        raise StartError(
            "--processes needs Linux, whose kernel shares the connections of one port out among processes: "
            "leave the option out"
        )
    rates = ApiRates(config.quotas, SharedTokenBucket)
    listeners = listening.open_for_processes(config)
    port = listeners[0].sockets[0].getsockname()[1]
    # Freeze the heap, so that its pages stay shared with the forks: a garbage collection would write to them and so
    # copy them.
    garbage.spare_existing()
    # Block the signals until each process has installed its handlers. Before that, a signal would end it with a
    # traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    members = _fork(config, listeners, rates)

    def say_ready() -> None:
        lifecycle.say_ready(config, port, [member.pid for member in members], announce=announce)

    with asyncio.Runner() as runner:
        return runner.run(_Supervisor(members, say_ready).run(exit_with_stdin=exit_with_stdin))


def _fork(config: ServerConfig, listeners: Sequence[Listeners], rates: ApiRates) -> list[_Member]:
    members: list[_Member] = []
    try:
        controls = [socket.socketpair() for _ in listeners]
        places = [
            _Place(there, listening_here, ends)
            for (_, there), listening_here, ends in zip(
                controls, listeners, relay.mesh(len(listeners)), strict=True
            )
        ]
        # Flush before forking, or each fork would print the buffered output again.
        sys.stdout.flush()
        sys.stderr.flush()
        for number, (here, _) in enumerate(controls):
            pid = os.fork()
            if pid == 0:
                others = [here for here, _ in controls], [*places[:number], *places[number + 1 :]]
                _be_member(config, places[number], rates, *others)
            here.setblocking(False)
            members.append(_Member(pid, here))
    except OSError as error:
        # Leave the serving processes that already run: they stop when this process exits and its control streams close.
        raise StartError(
            f"{config.processes} processes cannot be started ({error.strerror}): choose fewer with --processes"
        ) from None
    for place in places:
        place.close()
    return members


# --- the parent ---


class _Supervisor:
    """Reports when all serving processes accept connections, waits for a reason to stop, and stops them."""

    def __init__(self, members: Sequence[_Member], say_ready: Callable[[], None]) -> None:
        self._members = members
        self._say_ready = say_ready
        self._stop = asyncio.Event()
        self._all_ended = asyncio.Event()

    async def run(self, *, exit_with_stdin: bool) -> int:
        """Supervise until every serving process has ended; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for member in self._members:
            loop.add_reader(member.control, self._hear, member)
        if exit_with_stdin:
            lifecycle.watch_stdin(loop, self._stop)
        await self._stop.wait()
        return await self._end()

    def _hear(self, member: _Member) -> None:
        try:
            words = member.control.recv(16)
        except OSError:
            words = b""
        if not words:
            asyncio.get_running_loop().remove_reader(member.control)
            member.ended = True
            if not self._stop.is_set():
                member.failed = True
                self._stop.set()
            if all(member.ended for member in self._members):
                self._all_ended.set()
        if _READY in words:
            member.ready = True
            if all(member.ready for member in self._members):
                self._say_ready()
        if _STOP in words:
            self._stop.set()

    async def _end(self) -> int:
        for member in self._members:
            with suppress(OSError):
                member.control.shutdown(socket.SHUT_WR)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended.wait(), _STOP_TIMEOUT_S)
        stuck = [member for member in self._members if not member.ended]
        for member in stuck:
            os.kill(member.pid, signal.SIGKILL)
        code = lifecycle.EXIT_STOPPED
        for member in self._members:
            how = _how_ended(os.waitpid(member.pid, 0)[1])
            if member.failed:
                _say(
                    f"process {member.pid}, one of the {len(self._members)} that serve, {how}: the server stops"
                )
            elif member in stuck:
                _say(
                    f"process {member.pid} stood still and did not stop within {_STOP_TIMEOUT_S:g} s: it was killed"
                )
            else:
                continue
            code = lifecycle.EXIT_FAILED
        return code


def _how_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _say(sentence: str) -> None:
    print(f"loadgen server: {sentence}", file=sys.stderr)


# --- the processes that serve ---


def _be_member(
    config: ServerConfig,
    place: _Place,
    rates: ApiRates,
    parents: Sequence[socket.socket],
    others: Sequence[_Place],
) -> NoReturn:
    """Serve in a forked process, then exit it here, so that it never runs the parent's code after the fork."""
    code = lifecycle.EXIT_FAILED
    try:
        # A stream ends only when all copies of its other end are closed. So close the copies that this process
        # inherited of other processes' streams.
        for control in parents:
            control.close()
        for other in others:
            other.close()
        with asyncio.Runner(loop_factory=lifecycle.loop_factory()) as runner:
            runner.run(_serve(config, place, rates))
        code = lifecycle.EXIT_STOPPED
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


async def _serve(config: ServerConfig, place: _Place, rates: ApiRates) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Ctrl-C or a service manager may signal all processes at once. So a serving process only reports the signal to
        # the parent, which stops all processes.
        loop.add_signal_handler(number, _tell, place.control, _STOP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _watch_parent(place.control, loop, stop)
    hub = RelayingHub(config.write_buffer_limit_bytes, Counters(), place.ends, rates)
    server = lifecycle.Server(config, hub, rates)
    try:
        await server.start(place.listeners)
        garbage.spare_existing()
        _tell(place.control, _READY)
        await stop.wait()
        await hub.relay.settle()
    finally:
        await server.stop()
    lifecycle.report_dropped(server)


def _tell(control: socket.socket, word: bytes) -> None:
    # Ignore a failed send: if the parent is gone, `_watch_parent` stops this process.
    with suppress(OSError):
        control.send(word)


def _watch_parent(control: socket.socket, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set ``stop`` when the parent closes the control stream or ends; exit if this process still runs after 6 s."""

    def wait_for_end() -> None:
        with suppress(OSError):
            while control.recv(16):
                pass
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        time.sleep(_STOP_TIMEOUT_S)
        os._exit(lifecycle.EXIT_FAILED)

    threading.Thread(target=wait_for_end, name="parent-watch", daemon=True).start()
