"""Test `Signal`, with which one greenlet waits for a report from the hub."""

import time

import gevent
import pytest

from loadgen.transport.waiting import Signal, after
from tests.paths import REPO


def test_a_signal_that_is_set_before_does_not_block() -> None:
    signal = Signal()
    signal.set()
    assert signal.is_set()
    assert signal.wait(0.0)


def test_a_wait_ends_when_it_is_set_and_lets_its_setter_finish_first() -> None:
    signal, order = Signal(), list[str]()

    def setting() -> None:
        signal.set()
        order.append("set")

    gevent.spawn(setting)
    assert signal.wait(5)
    order.append("woken")
    assert order == ["set", "woken"]


def test_set_now_wakes_within_the_call() -> None:
    signal, order = Signal(), list[str]()

    def waiting() -> None:
        assert signal.wait(5)
        order.append("woken")

    def setting() -> None:
        signal.set_now()
        order.append("set")

    waiter = gevent.spawn(waiting)
    gevent.get_hub().loop.run_callback(setting)
    waiter.get(timeout=5)
    gevent.sleep(0)
    assert order == ["woken", "set"]


def test_a_wait_that_times_out_says_so_and_can_be_repeated() -> None:
    signal = Signal()
    assert not signal.wait(0.001)
    gevent.spawn(signal.set)
    assert signal.wait(5)
    signal.clear()
    assert not signal.wait(0.001)


def fall_behind() -> None:
    """Keep Python busy for 300 ms, so that the event loop's cached time is as much behind."""
    gevent.sleep(0.001)
    until_s = time.monotonic() + 0.3
    while time.monotonic() < until_s:
        pass


def test_a_wait_that_begins_while_the_loop_is_behind_lasts_its_time() -> None:
    signal = Signal()
    fall_behind()
    began_s = time.monotonic()
    assert not signal.wait(0.2)
    assert time.monotonic() - began_s >= 0.199


def test_a_timer_that_is_started_while_the_loop_is_behind_lasts_its_time() -> None:
    called_s: list[float] = []
    signal = Signal()

    def call() -> None:
        called_s.append(time.monotonic())
        if len(called_s) == 2:
            signal.set()

    fall_behind()
    began_s = time.monotonic()
    timer = after(0.2, call, again_s=0.1)
    try:
        assert signal.wait(5)
    finally:
        timer.stop()
        timer.close()
    assert called_s[0] - began_s >= 0.199
    # The second call is due 0.1 s after the first was due, however late the first one came.
    assert called_s[1] - began_s >= 0.299


def test_all_timers_of_the_hub_are_started_by_the_current_time() -> None:
    """All timers must be made in `waiting`, which updates the event loop's cached time first.

    A timer that counts from an outdated time ends too early.
    """
    others = [
        path.relative_to(REPO).as_posix()
        for path in sorted((REPO / "loadgen").glob("**/*.py"))
        if ".timer(" in path.read_text(encoding="utf-8")
    ]
    assert others == ["loadgen/transport/waiting.py"]


def test_an_error_is_raised_by_the_wait() -> None:
    signal = Signal()
    gevent.spawn(signal.set_exception, OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        signal.wait(5)


def test_a_signal_whose_waiter_was_killed_in_the_same_turn_wakes_nobody() -> None:
    signal, slept = Signal(), list[bool]()

    def waiting() -> None:
        try:
            signal.wait(5)
        finally:
            gevent.sleep(0.01)
            slept.append(True)

    waiter = gevent.spawn(waiting)
    gevent.sleep(0)
    waiter.kill(block=False)
    signal.set()
    waiter.join(5)
    assert slept == [True]
