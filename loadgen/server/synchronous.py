"""Run synchronous functions of users in a thread, so that they may wait, or run an event loop of their own.

A function on the server's thread would hold up every connection while it waits. It could not call `asyncio.run` either,
although functions for AWS Lambda do so. The functions run one at a time, in the order of the calls, as in one execution
environment of AWS Lambda. So they may share state without a lock.
"""

import asyncio
import contextlib
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ABANDONED_MAX: Final = 16
"""Maximum number of functions that run although their time is over; each holds a thread. Further calls fail."""


_IDLE_S: Final = 10.0


class BusyError(RuntimeError):
    """Too many functions have not returned; no further one is started."""


@dataclass(slots=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context
    begun: "asyncio.Future[None]"
    done: "asyncio.Future[Any]"
    #: Set when the caller no longer waits, possibly before the function is started.
    given_up: bool = False

    def run(self) -> None:
        """Call the function in this thread and hand its result to the loop of its caller."""
        self._tell(self.begun, None, None)
        try:
            result, error = self.context.run(self.function, *self.arguments), None
        except BaseException as raised:
            result, error = None, raised
            if not isinstance(raised, Exception) or isinstance(raised, StopIteration):
                # A future cannot hold StopIteration, and a BaseException would end the caller's task or the server.
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
        self._tell(self.done, result, error)

    def refuse(self, error: BusyError) -> None:
        """Raise ``error`` in the coroutine that awaits the call, because the function will not be started."""
        self._tell(self.begun, None, error)

    def _tell(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop has closed
            self.loop.call_soon_threadsafe(settle)


class SynchronousCalls:
    """One daemon thread, started by a call, replaced if a function does not return in time, and ended when idle.

    The object may be made before a fork, but its methods may be called only after the fork, as threads do not survive
    it. Call the methods from the thread of an event loop.
    """

    def __init__(self, abandoned_max: int = ABANDONED_MAX, idle_s: float = _IDLE_S) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: threading.Thread | None = None
        self._running: _Call | None = None
        self._abandoned: set[threading.Thread] = set()
        self._abandoned_max = abandoned_max
        self._idle_s = idle_s

    async def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        """Call a function in the thread and return its result; the time limit counts from its start.

        Raises:
            TimeoutError: the function has not returned in time. It cannot be stopped, and keeps its thread.
            BusyError: too many functions are still running although their time is over.
            Exception: the exception that the function raised.
        """
        loop = asyncio.get_running_loop()
        call = _Call(
            function,
            arguments,
            loop,
            contextvars.copy_context(),
            loop.create_future(),
            loop.create_future(),
        )
        try:
            # Queue the call before looking for a thread. An idle thread looks at the queue once more before it ends. So
            # either that thread takes the call, or `_start` finds no thread and starts one.
            self._calls.put(call)
            self._start()
            await call.begun
            return await asyncio.wait_for(call.done, timeout_s)
        except TimeoutError:
            if call.done.done() and not call.done.cancelled():
                raise  # the function itself raised TimeoutError
            self._abandon(call)
            raise
        finally:
            call.given_up = True

    def _start(self) -> None:
        with self._lock:
            if self._current is not None:
                return
            self._abandoned = {thread for thread in self._abandoned if thread.is_alive()}
            if len(self._abandoned) >= self._abandoned_max:
                raise BusyError(f"{len(self._abandoned)} functions have not returned in time")
            self._current = threading.Thread(target=self._work, name="handlers", daemon=True)
            self._current.start()

    def _abandon(self, call: _Call) -> None:
        """Leave the current thread to a function that takes too long, and start another for the waiting calls."""
        with self._lock:
            if self._running is call and self._current is not None:
                self._abandoned.add(self._current)
                self._current = None
        if self._calls.empty():
            return
        try:
            self._start()
        except BusyError as error:
            # No thread will start the waiting calls, so refuse them.
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting = self._calls.get_nowait()
                    if not waiting.given_up:
                        waiting.refuse(error)

    def _work(self) -> None:
        own = threading.current_thread()
        while True:
            try:
                call = self._calls.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if not self._calls.empty():
                        continue
                    if self._current is own:
                        self._current = None
                    return
            with self._lock:
                if self._current is not own:
                    # Another thread has replaced this one, which only now got the call: leave the call to the other.
                    self._calls.put(call)
                    return
                self._running = call
            if not call.given_up:
                call.run()
            with self._lock:
                if self._current is not own:
                    # The call took too long, so this thread was given up. End it if another has taken its place.
                    self._abandoned.discard(own)
                    if self._current is not None:
                        return
                    self._current = own


async def call(
    calls: SynchronousCalls, function: Callable[..., Any], *arguments: Any, timeout_s: float
) -> Any:
    """Call a function: a coroutine function on the event loop, any other function in the thread.

    If a function called in the thread returns an awaitable, the event loop awaits it. Each of these steps has the time
    limit ``timeout_s``.
    """
    if is_coroutine_function(function):
        return await asyncio.wait_for(function(*arguments), timeout_s)
    returned = await calls.call(function, *arguments, timeout_s=timeout_s)
    if inspect.isawaitable(returned):
        return await asyncio.wait_for(returned, timeout_s)
    return returned


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Return True for `async def`, also as a method, a partial or the `__call__` of an object."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  the method itself is looked at
    )
