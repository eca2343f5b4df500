"""Test that long work lets the event loop run in between, and that no item is left out."""

import gevent
import pytest

from loadgen.transport.slices import ITEMS, in_slices


def test_the_event_loop_has_a_turn_after_each_slice() -> None:
    done: list[int] = []
    seen: list[int] = []

    def work() -> None:
        done.extend(in_slices(range(3 * ITEMS + 1)))

    def watch() -> None:
        while len(done) <= 3 * ITEMS:
            seen.append(len(done))
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(work), gevent.spawn(watch)], timeout=10, raise_error=True)
    assert done == list(range(3 * ITEMS + 1))
    assert {ITEMS, 2 * ITEMS, 3 * ITEMS} <= set(seen)


def test_a_greenlet_that_is_killed_finishes_its_work_first() -> None:
    done: list[int] = []
    working = gevent.spawn(lambda: done.extend(in_slices(range(5 * ITEMS))))
    gevent.sleep(0)
    assert 0 < len(done) < 5 * ITEMS
    working.kill()
    assert done == list(range(5 * ITEMS))
    assert isinstance(working.value, gevent.GreenletExit)


def test_in_the_hub_there_are_no_turns() -> None:
    done: list[int] = []
    gevent.get_hub().loop.run_callback(lambda: done.extend(in_slices(range(3 * ITEMS))))
    gevent.sleep(0)
    assert len(done) == 3 * ITEMS


@pytest.mark.parametrize("count", [0, 1, ITEMS - 1, ITEMS, ITEMS + 1])
def test_any_number_of_items_is_yielded_once(count: int) -> None:
    assert list(in_slices(iter(range(count)))) == list(range(count))
