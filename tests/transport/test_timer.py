import gevent
import pytest

from loadgen.measure.clock import now_ns
from loadgen.transport import timer as timer_module
from loadgen.transport.timer import PreciseTimer


def test_greenlets_wake_in_the_order_of_their_times_and_never_early() -> None:
    timer = PreciseTimer()
    start_ns = now_ns() + 20_000_000
    woken: list[int] = []
    early: list[int] = []

    def sleeper(number: int) -> None:
        due_ns = start_ns + number * 1_000_000
        timer.wait_until(due_ns)
        early.append(min(0, now_ns() - due_ns))
        woken.append(number)

    # A timeout counts from when the loop last looked at the clock, which in a process of many tests is long ago.
    gevent.get_hub().loop.update_now()
    numbers = [7, 3, 9, 1, 5, 0, 8, 2, 6, 4]
    gevent.joinall([gevent.spawn(sleeper, number) for number in numbers], timeout=10)
    assert woken == sorted(numbers)
    # Two clocks are read one after the other; a microsecond between the readings is not an early waking.
    assert min(early) > -50_000
    timer.close()


def test_a_process_that_is_put_aside_between_two_clocks_is_not_woken_later_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall_ns, steady_ns = 1_000_000_000, 5_000
    pauses_ns = iter([0, 7_000_000, 0, 3_000_000, 0, 100, 100])

    def read_steady() -> int:
        nonlocal wall_ns, steady_ns
        pause_ns = next(pauses_ns)
        wall_ns, steady_ns = wall_ns + pause_ns, steady_ns + pause_ns
        return steady_ns

    monkeypatch.setattr(timer_module, "now_ns", lambda: wall_ns)
    monkeypatch.setattr("loadgen.transport.timer.time.monotonic_ns", read_steady)
    due_ns = wall_ns + 50_000_000
    found_ns = timer_module._steady_ns(due_ns)
    assert 0 <= found_ns - (steady_ns + due_ns - wall_ns) <= 20_000


def test_a_time_that_is_past_does_not_wait() -> None:
    timer = PreciseTimer()
    timer.wait_until(now_ns() - 1)
    timer.close()


def test_a_greenlet_killed_while_it_waits_disturbs_nobody() -> None:
    timer = PreciseTimer()
    due_ns = now_ns() + 50_000_000
    killed, other = gevent.spawn(timer.wait_until, due_ns), gevent.spawn(timer.wait_until, due_ns + 1)
    gevent.sleep(0.01)
    killed.kill()
    other.join(timeout=5)
    assert other.successful()
    timer.close()
