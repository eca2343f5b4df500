"""`Signal`: one greenlet waits for what the hub reports."""

import time

import gevent
import pytest

from loadgen.transport.waiting import Signal


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


def test_a_wait_that_begins_while_the_loop_is_behind_lasts_its_time() -> None:
    """The loop's own clock stands still while Python is busy: by it the wait would end at once."""
    signal = Signal()
    gevent.sleep(0.001)
    busy_until_s = time.monotonic() + 0.3
    while time.monotonic() < busy_until_s:
        pass
    began_s = time.monotonic()
    assert not signal.wait(0.2)
    assert time.monotonic() - began_s >= 0.199


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
