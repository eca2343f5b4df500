"""Test `keep_stacks`: the next greenlet reuses the memory of an ended greenlet's Python stack."""

import gevent
import pytest
from gevent.event import Event

from loadgen import native

pytestmark = pytest.mark.skipif(not native.available, reason="the native part is not built")


def deep(levels: int) -> int:
    return 1 + deep(levels - 1) if levels else 0


def waiting(over: Event) -> int:
    found = deep(20)
    over.wait()
    return found + deep(20)


def test_stacks_of_ended_greenlets_are_kept_and_used_again() -> None:
    native.keep_stacks()
    native.keep_stacks()
    over = Event()
    gevent.joinall([gevent.spawn(deep, 1) for _ in range(10)])
    before = native.kept_stacks()
    assert before >= 1
    greenlets = [gevent.spawn(waiting, over) for _ in range(before)]
    gevent.sleep(0)
    assert native.kept_stacks() == 0
    over.set()
    gevent.joinall(greenlets)
    assert [each.value for each in greenlets] == [40] * before
    assert native.kept_stacks() >= before


def test_more_stacks_than_are_kept_are_freed_and_deep_ones_grow_as_before() -> None:
    native.keep_stacks()
    over = Event()
    many = [gevent.spawn(waiting, over) for _ in range(400)]
    gevent.sleep(0)
    over.set()
    gevent.joinall(many)
    assert native.kept_stacks() == 256
    # A deep recursion also needs chunks of more than 16 KB, which are never kept.
    assert gevent.spawn(deep, 800).get() == 800
    assert native.kept_stacks() == 256
