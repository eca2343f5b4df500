"""Test users' synchronous functions, run in a thread: order, exceptions, time limits, own event loops."""

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from loadgen.server.synchronous import BusyError, SynchronousCalls, call, is_coroutine_function

LONG_S = 60.0


def run(use: Callable[[SynchronousCalls], Any], abandoned_max: int = 16) -> Any:
    async def main() -> Any:
        return await use(SynchronousCalls(abandoned_max))

    return asyncio.run(main())


def test_a_function_may_run_an_event_loop_of_its_own() -> None:
    async def inner() -> str:
        await asyncio.sleep(0)
        return "done"

    assert run(lambda calls: call(calls, lambda: asyncio.run(inner()), timeout_s=LONG_S)) == "done"


def test_calls_run_one_at_a_time_in_their_order() -> None:
    seen: list[int] = []
    running = 0

    def function(number: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        time.sleep(0.0005)
        running -= 1
        seen.append(number)
        return number

    async def use(calls: SynchronousCalls) -> Any:
        return await asyncio.gather(*(call(calls, function, n, timeout_s=LONG_S) for n in range(50)))

    assert run(use) == seen == list(range(50))


def test_the_event_loop_goes_on_meanwhile() -> None:
    release = threading.Event()

    async def use(calls: SynchronousCalls) -> bool:
        waiting = asyncio.ensure_future(call(calls, release.wait, timeout_s=LONG_S))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        # Only this thread, which runs the event loop, can set the event.
        release.set()
        return bool(await waiting)

    assert run(use) is True


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("why"), ValueError),
        (TimeoutError("its own"), TimeoutError),
        (StopIteration(), RuntimeError),
        (SystemExit(3), RuntimeError),
        (KeyboardInterrupt(), RuntimeError),
        (asyncio.CancelledError(), RuntimeError),
    ],
)
def test_what_a_function_raises_comes_to_its_caller_and_ends_nothing_else(
    error: BaseException, raised: type[Exception]
) -> None:
    def fails() -> None:
        raise error

    async def use(calls: SynchronousCalls) -> tuple[int, int]:
        with pytest.raises(raised):
            await call(calls, fails, timeout_s=LONG_S)
        first: int = await call(calls, threading.get_ident, timeout_s=LONG_S)
        second: int = await call(calls, threading.get_ident, timeout_s=LONG_S)
        return first, second

    first, second = run(use)
    assert first == second != threading.get_ident()


def test_a_function_that_does_not_return_holds_up_no_other() -> None:
    release = threading.Event()

    async def use(calls: SynchronousCalls) -> list[Any]:
        stuck = asyncio.ensure_future(call(calls, release.wait, timeout_s=0.05))
        behind = [asyncio.ensure_future(call(calls, int, text, timeout_s=LONG_S)) for text in "12"]
        with pytest.raises(TimeoutError):
            await stuck
        return [await each for each in behind]

    try:
        assert run(use) == [1, 2]
    finally:
        release.set()


def test_the_time_limit_does_not_count_the_wait_for_others() -> None:
    async def use(calls: SynchronousCalls) -> Any:
        slow = [call(calls, time.sleep, 0.05, timeout_s=LONG_S) for _ in range(6)]
        behind = call(calls, lambda: "behind", timeout_s=0.2)
        return await asyncio.gather(*slow, behind)

    assert run(use)[-1] == "behind"


def test_the_threads_of_functions_that_never_return_are_bounded() -> None:
    release = threading.Event()

    async def use(calls: SynchronousCalls) -> Any:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await call(calls, release.wait, timeout_s=0.02)
        with pytest.raises(BusyError, match="3 functions have not returned"):
            await call(calls, int, timeout_s=LONG_S)
        before = threading.active_count()
        release.set()
        result = None
        while result is None:
            try:
                result = await call(calls, int, "7", timeout_s=LONG_S)
            except BusyError:
                await asyncio.sleep(0.001)
        # Two of the three waiting threads end. One thread remains for later calls; it may be a new one.
        while threading.active_count() > before - 2:
            await asyncio.sleep(0.001)
        return result

    assert run(use, abandoned_max=3) == 7


def test_calls_that_wait_behind_the_last_allowed_one_are_refused() -> None:
    release = threading.Event()

    async def use(calls: SynchronousCalls) -> None:
        first = asyncio.ensure_future(call(calls, release.wait, timeout_s=0.05))
        behind = [asyncio.ensure_future(call(calls, int, timeout_s=LONG_S)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await first
        for each in behind:
            with pytest.raises(BusyError):
                await each

    try:
        run(use, abandoned_max=1)
    finally:
        release.set()


def test_a_call_that_nobody_waits_for_is_not_started() -> None:
    release, started = threading.Event(), threading.Event()

    async def use(calls: SynchronousCalls) -> None:
        first = asyncio.ensure_future(call(calls, release.wait, timeout_s=LONG_S))
        second = asyncio.ensure_future(call(calls, started.set, timeout_s=LONG_S))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        await first
        await call(calls, int, timeout_s=LONG_S)

    run(use)
    assert not started.is_set()


def test_an_idle_thread_ends_and_the_next_call_has_another() -> None:
    async def use(calls: SynchronousCalls) -> None:
        first = await call(calls, threading.current_thread, timeout_s=LONG_S)
        await asyncio.to_thread(first.join, LONG_S)
        assert not first.is_alive()
        assert await call(calls, threading.current_thread, timeout_s=LONG_S) is not first

    asyncio.run(use(SynchronousCalls(idle_s=0.01)))


def test_no_call_is_left_behind_by_a_thread_that_ends_at_that_moment() -> None:
    async def use(calls: SynchronousCalls) -> list[int]:
        answered = []
        for number in range(300):
            answered.append(await call(calls, lambda number=number: number, timeout_s=LONG_S))
            await asyncio.sleep(0.0002 * (number % 10))
        return answered

    assert asyncio.run(use(SynchronousCalls(idle_s=0.001))) == list(range(300))


def test_a_function_sees_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def use(calls: SynchronousCalls) -> str:
        variable.set("here")
        found: str = await call(calls, variable.get, timeout_s=LONG_S)
        return found

    assert run(use) == "here"


class Asynchronous:
    async def __call__(self, value: int) -> int:
        return value

    async def method(self, value: int) -> int:
        return value


async def coroutine_function(value: int) -> int:
    return value


async def generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function",
    [
        coroutine_function,
        functools.partial(coroutine_function),
        Asynchronous(),
        Asynchronous().method,
        lambda value: coroutine_function(value),
    ],
)
def test_coroutine_functions_of_every_form_run_on_the_event_loop(function: Callable[..., Any]) -> None:
    assert run(lambda calls: call(calls, function, 5, timeout_s=LONG_S)) == 5


def test_a_coroutine_has_the_time_limit_too() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def use(calls: SynchronousCalls) -> None:
        for function in (never, lambda: never()):
            with pytest.raises(TimeoutError):
                await call(calls, function, timeout_s=0.01)

    run(use)


def test_a_plain_function_is_none() -> None:
    assert not is_coroutine_function(len)
    assert not is_coroutine_function(generator)
    assert not is_coroutine_function(functools.partial(print))
