"""Test `shorten_slice`, in threads of their own: a slice belongs to a thread and to those that it starts."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen import native

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

SLICE_NS = 200_000


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def slice_of_this_thread() -> str | None:
    """Return the slice that Linux reports for this thread, or None if it reports none."""
    try:
        with Path(f"/proc/self/task/{threading.get_native_id()}/sched").open() as lines:
            return next((line.split(":")[1].strip() for line in lines if line.startswith("se.slice")), None)
    except OSError:
        return None


def test_the_slice_is_set_and_nothing_else() -> None:
    def shortened() -> tuple[int, int, int, int]:
        before = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
        slice_ns = native.shorten_slice(SLICE_NS)
        assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)) == before
        return slice_ns, native.shorten_slice(1), native.shorten_slice(10**12), native.shorten_slice(SLICE_NS)

    slices = in_a_thread(shortened)
    if not any(slices):
        pytest.skip("this kernel has no slices of threads (before Linux 6.12), or forbids them")
    assert slices == (SLICE_NS, 100_000, 100_000_000, SLICE_NS)


def test_later_threads_have_the_slice_and_this_one_does_not() -> None:
    def inherited() -> tuple[int, str | None, str | None]:
        slice_ns = native.shorten_slice(SLICE_NS)
        return slice_ns, slice_of_this_thread(), in_a_thread(slice_of_this_thread)

    before = slice_of_this_thread()
    slice_ns, own, later = in_a_thread(inherited)
    assert slice_of_this_thread() == before
    if slice_ns == 0 or own is None:
        pytest.skip("this kernel has no slices of threads, or does not report them")
    assert own == later
    assert own != before


def test_a_thread_with_real_time_priority_keeps_it() -> None:
    def real_time() -> tuple[int, int] | None:
        lowest = os.sched_get_priority_min(os.SCHED_FIFO)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(lowest))
        except OSError:
            return None
        return native.shorten_slice(SLICE_NS), os.sched_getscheduler(0)

    found = in_a_thread(real_time)
    if found is None:
        pytest.skip("this process may not have real-time priority")
    assert found == (0, os.SCHED_FIFO)


@pytest.mark.parametrize("slice_ns", [0, -1])
def test_a_slice_is_positive(slice_ns: int) -> None:
    with pytest.raises(ValueError, match="at least 1 ns"):
        native.shorten_slice(slice_ns)
