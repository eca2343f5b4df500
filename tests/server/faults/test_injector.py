"""Test the fault injector's decisions without a server, so that the tests can pretend that the machine is busy."""

import asyncio
import json
import time

from loadgen.server.faults.injector import FaultingHub
from loadgen.server.faults.settings import Faults
from loadgen.server.hub import Counters, Subscription
from loadgen.server.journal import NoJournal


class Outlet:
    """A stand-in for a subscriber's connection; it stores the events written to it."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def write_at_once(self, data: bytes) -> None:
        self.events.append(json.loads(data[data.index(b"{") :])["event"])

    write = write_at_once

    def buffered_bytes(self) -> int:
        return 0

    def abort_slow_reader(self) -> None: ...

    def disconnect(self, code: int) -> None: ...


def test_what_is_overdue_goes_before_what_is_due_at_once() -> None:
    """Events that a busy machine has not written in time are written before a new event that has no delay."""

    async def scene() -> list[str]:
        hub = FaultingHub(1 << 20, Counters(), Faults.model_validate({"throttle": "100/s"}), NoJournal())
        outlet = Outlet()
        hub.add(Subscription("s", "/default/a", outlet))
        hub.publish("/default/a", ["1", "2", "3"])
        # The second and third event are due in 10 and 20 ms, but the event loop does not run until after
        # that.
        time.sleep(0.05)
        hub.publish("/default/a", ["4"])
        written = list(outlet.events)
        hub.close()
        return written

    assert asyncio.run(scene()) == ["1", "2", "3", "4"]
