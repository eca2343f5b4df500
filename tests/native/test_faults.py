"""Test arguments that the C types refuse, and references that they release."""

import gc
import os
import socket
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from loadgen import native
from loadgen.measure.recorder import Recorder
from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

STAMP = (1, 2, 3, 4, 5)


def frame(subscription_id: str) -> bytes:
    return frames.text_frame(messages.data(subscription_id, encode_event(*STAMP, 40)))


def numbers(rows: native.Rows) -> list[int]:
    return [
        int(number)
        for buffer, used in rows.take()
        for number in np.frombuffer(memoryview(buffer), dtype=np.int64, count=used // 8).reshape(-1, 9)[:, 0]
    ]


@pytest.mark.parametrize("state", ["new", "one", "many", "cleared", "cleared of many", "refilled"])
def test_an_empty_id_is_no_subscription(state: str) -> None:
    rows = native.Rows(9, 100)
    fast_path = native.DeliveryFastPath(rows)
    count = {"new": 0, "one": 1, "cleared": 1, "refilled": 3}.get(state, 50)
    for number in range(count):
        fast_path.add(f"s{number}", 7 + number)
    if state.startswith(("cleared", "refilled")):
        fast_path.clear()
    if state == "refilled":
        fast_path.add("again", 3)
    assert fast_path.take_frames(frame(""), 1, 1) == 0
    known = {"one": ["s0"], "many": [f"s{number}" for number in range(50)], "refilled": ["again"]}.get(
        state, []
    )
    for subscription_id in ["s0", "s1", "s49", "again", "s"]:
        text = frame(subscription_id)
        assert fast_path.take_frames(text, 1, 1) == (len(text) if subscription_id in known else 0)
    wanted = {"one": [7], "many": [7, 8, 56], "refilled": [3]}.get(state, [])
    assert numbers(rows) == wanted


def test_a_buffer_cannot_be_resized_and_is_used_again() -> None:
    rows = native.Rows(9, 2)
    rows.add(1, 1, 1, STAMP)
    ((buffer, used),) = rows.take()
    assert used == 72
    assert memoryview(buffer).nbytes == 144
    assert not hasattr(buffer, "clear")
    with pytest.raises(TypeError):
        type(buffer)()
    seen = np.frombuffer(memoryview(buffer), dtype=np.int64)
    rows.give_back(buffer)
    for number in (2, 3, 4, 5):
        rows.add(number, 1, 1, STAMP)
    # The memory of the returned buffer is used for new rows, so the array shows them.
    assert {2, 4} & {int(seen[0])}
    assert numbers(rows) == [2, 3, 4, 5]


def test_a_buffer_outlives_its_rows() -> None:
    rows = native.Rows(9, 100)
    for number in range(150):
        rows.add(number, 1, 1, STAMP)
    (buffer, _), (rest, used) = rows.take()
    rows.give_back(rest)
    del rows
    gc.collect()
    assert np.frombuffer(memoryview(buffer), dtype=np.int64).reshape(-1, 9)[:, 0].tolist() == list(range(100))
    assert used == 50 * 72
    assert int(np.frombuffer(memoryview(rest), dtype=np.int64)[0]) == 100


@pytest.mark.parametrize("where", ["spare", "written to", "full"])
def test_a_buffer_is_given_back_once(where: str) -> None:
    """If a buffer could be given back twice, two buffers would use the same memory."""
    rows = native.Rows(9, 1)
    rows.add(1, 1, 1, STAMP)
    ((buffer, _),) = rows.take()
    rows.give_back(buffer)
    if where != "spare":
        rows.add(2, 1, 1, STAMP)
    if where == "full":
        rows.add(3, 1, 1, STAMP)
    with pytest.raises(ValueError, match="only once"):
        rows.give_back(buffer)


def test_a_relief_is_callable_and_is_not_called_within_itself() -> None:
    rows = native.Rows(9, 1)
    not_callable: Any = None
    with pytest.raises(TypeError, match="callable"):
        rows.on_backpressure(1, not_callable)
    depth, deepest, calls = 0, 0, 0

    def relief() -> None:
        nonlocal depth, deepest, calls
        depth += 1
        calls += 1
        deepest = max(deepest, depth)
        rows.add(calls, 1, 1, STAMP)
        depth -= 1

    rows.on_backpressure(1, relief)
    for _ in range(5):
        rows.add(0, 1, 1, STAMP)
    assert deepest == 1
    # Each full buffer causes one call of `relief`. For a buffer that fills during a call, the call is made after the
    # next row.
    assert calls == 1 + 2 + 3 + 4 + 5
    assert len(numbers(rows)) == 5 + calls


def test_a_fast_path_cannot_be_derived_from() -> None:
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Mine", (native.FastPath,), {})


class Source:
    whole = None


@pytest.mark.parametrize("descriptor", [2**20, 2**30, 2**31 - 1])
def test_a_descriptor_that_is_not_open_makes_no_table(descriptor: int) -> None:
    poller = native.Poller(print)
    before = psutil.Process().memory_info().vms
    with pytest.raises(OSError):
        poller.add(descriptor, Source(), 1)  # type: ignore[arg-type]
    assert psutil.Process().memory_info().vms - before < 1 << 24


@pytest.mark.parametrize("beyond", [2**32, -(2**32), 2**40])
def test_a_number_beyond_an_int_is_another_descriptor(beyond: int) -> None:
    poller = native.Poller(print)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller.add(ours.fileno(), Source(), 1)  # type: ignore[arg-type]
        with pytest.raises(KeyError):
            poller.remove(ours.fileno() + beyond)
        with pytest.raises(OverflowError):
            poller.remove(2**70)
        assert poller.remove(ours.fileno()) == 1


def test_what_is_no_time_of_a_read_is_refused() -> None:
    poller = native.Poller(print)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ValueError, match="1970"):
            poller.add(ours.fileno(), Source(), -(2**63))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="closed"):
            poller.add(-1, Source(), 1)  # type: ignore[arg-type]
        # Not half added.
        poller.add(ours.fileno(), Source(), 0)  # type: ignore[arg-type]


def test_removing_a_socket_that_was_closed_says_so_and_forgets_it() -> None:
    poller = native.Poller(print)
    ours, theirs = socket.socketpair()
    source = Source()
    descriptor = ours.fileno()
    poller.add(descriptor, source, 1)  # type: ignore[arg-type]
    count = sys.getrefcount(source)
    ours.close()
    theirs.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        poller.remove(descriptor)
    assert sys.getrefcount(source) == count - 1


@pytest.mark.parametrize("kind", ["rows", "fast_path", "poller"])
def test_a_cycle_through_each_type_is_collected(kind: str) -> None:
    class Owner:
        """Stands in for a recorder or a connection, and forms a reference cycle with a native object.

        The native object holds a bound method of the owner, and the owner holds the native object.
        """

        held: Any

        def act(self, *_: object) -> None: ...

    owner = Owner()
    if kind == "poller":
        owner.held = native.Poller(owner.act)
    else:
        rows = native.Rows(9, 10)
        rows.on_backpressure(1, owner.act)
        owner.held = rows if kind == "rows" else native.DeliveryFastPath(rows)
        del rows
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_a_route_is_part_of_a_cycle_that_is_collected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        class Connection(Source):
            def __init__(self) -> None:
                self.poller = native.Poller(self.take)
                self.poller.add(ours.fileno(), self, 1)  # type: ignore[arg-type]
                rows = native.Rows(9, 10)
                rows.on_backpressure(1, self.take)
                self.poller.route(ours.fileno(), None, native.DeliveryFastPath(rows), self.take, self.take)  # type: ignore[arg-type]

            def take(self, *_: object) -> None: ...

        connection = Connection()
        gone = weakref.ref(connection)
        descriptor = connection.poller.fileno()
        del connection
        gc.collect()
        assert gone() is None
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_the_memory_of_a_recorder_that_is_gone_is_free(tmp_path: Path) -> None:
    class Spool:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    def all_rows() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, native.Rows)}

    spool: Any = Spool()
    gc.collect()
    # Keep the `Rows` of other tests alive, so that none of the objects made below can reuse their ids.
    others = [each for each in gc.get_objects() if isinstance(each, native.Rows)]
    gone = []
    for _ in range(30):
        recorder = Recorder(1, spool)
        assert recorder.native_rows is not None
        gone.append(weakref.ref(recorder))
        del recorder
    gc.collect()
    assert [each() for each in gone] == [None] * 30
    assert all_rows() == {id(each) for each in others}
