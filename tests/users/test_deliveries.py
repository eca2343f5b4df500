"""Test deliveries whose stamp is in another place or has a checksum.

Each is either recorded or counted as foreign (an event of another run).
"""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import AlteredRow
from loadgen.measure.stamp import Stamp
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Marked, Stamping
from loadgen.users.deliveries import DELIVERY_UNASKED, Deliveries

STAMP = (7, 3, 12, 1, 2)


class World:
    """The `Deliveries` under test, with one subscription (number 10), and lists of the calls that it makes."""

    def __init__(self, stamps: Stamps) -> None:
        self.stamping = Stamping(stamps)
        self.delivered: list[tuple[Any, ...]] = []
        self.altered: list[AlteredRow] = []
        self.examined: list[tuple[str, Stamp]] = []
        self.foreign: list[str] = []
        self.recorder: Any = SimpleNamespace(
            token=7,
            unknown_subscription=0,
            foreign=0,
            deviations=Counter(),
            deliver=lambda *values: self.delivered.append(values),
            altered=self.altered.append,
        )
        self.deliveries = Deliveries(
            cast(Recorder, self.recorder),
            lambda subscription_id, event, arrival_ns, stamp: self.examined.append((event, stamp)),
            self.foreign.append,
            self.stamping,
        )
        self.deliveries.numbers["s1"] = 10


def test_altered_events_are_recorded_beside_their_deliveries() -> None:
    world = World(Stamps(Place("pointer", "/meta/trace"), integrity=True))
    on_event, stamping = world.deliveries.on_event, world.stamping
    body = stamping.padded(1, '"text":"hello"')
    whole = str(stamping.event(*STAMP, body))
    changed = whole.replace("hello", "hallo")
    on_event("s1", whole, 5, 6)
    on_event("s1", changed, 7, 8)
    # This event belongs to another run; it is counted as foreign when deliveries are written.
    on_event("s1", str(stamping.event(8, *STAMP[1:], body)).replace("hello", "hallo"), 9, 9)
    assert world.delivered == [(10, 5, 6, STAMP), (10, 7, 8, STAMP), (10, 9, 9, (8, *STAMP[1:]))]
    assert world.altered == [AlteredRow(10, 3, 12, 7)]
    assert world.examined[:2] == [(whole, STAMP), (changed, STAMP)]
    world.deliveries.examined = False
    on_event("s1", whole, 5, 6)
    assert len(world.examined) == 3


@pytest.mark.parametrize(
    "event", ["", "{", "[]", '{"meta": {}}', '{"_lg":[7,3,12,1,2]}', '{"meta":{"trace":[7,3,12,1,2]}}']
)
def test_events_without_such_a_stamp_are_foreign(event: str) -> None:
    world = World(Stamps(Place("pointer", "/meta/trace"), integrity=True))
    world.deliveries.on_event("s1", event, 5, 6)
    world.deliveries.on_event("s9", event, 5, 6)
    assert (world.delivered, world.foreign, world.recorder.foreign) == ([], ["s1"], 2)
    assert world.recorder.deviations == {DELIVERY_UNASKED: 1}


def test_an_event_for_an_unknown_subscription_is_counted_as_such() -> None:
    world = World(Stamps(Place("member", "trace")))
    event = str(world.stamping.event(*STAMP, world.stamping.padded(100)))
    world.deliveries.on_event("s9", event, 5, 6)
    assert (world.delivered, world.recorder.foreign, world.recorder.unknown_subscription) == ([], 0, 1)
    assert world.recorder.deviations == {DELIVERY_UNASKED: 1}


def test_numbers_that_no_row_can_hold_are_foreign() -> None:
    world = World(Stamps(Place("member", "trace")))

    def deliver(*_: Any) -> None:
        raise OverflowError

    world.recorder.deliver = deliver
    world.deliveries.on_event("s1", '{"trace":[1,2,3,4,99999999999999999999]}', 5, 6)
    assert world.foreign == ["s1"]


def test_stamps_beside_events() -> None:
    world = World(Stamps(Place("header", "Lg"), integrity=True))
    event = world.stamping.event(*STAMP, world.stamping.content(b"\xffx"))
    assert isinstance(event, Marked)
    on_marked = world.deliveries.on_marked
    on_marked("s1", event, 5, 6)
    on_marked("s1", event._replace(body=b"y"), 7, 8)
    assert world.examined == [("\ufffdx", STAMP), ("y", STAMP)]
    assert world.altered == [AlteredRow(10, 3, 12, 7)]
    on_marked("s1", event._replace(stamp=""), 5, 6)
    world.deliveries.on_event("s1", "[7,3,12,1,2]", 5, 6)
    assert (len(world.delivered), world.recorder.foreign) == (2, 2)
