"""What the injector decides, without a server: a test decides how busy the machine is."""

import asyncio
import json
import time

from loadgen.server.faults.injector import FaultingHub
from loadgen.server.faults.settings import Faults
from loadgen.server.hub import Counters, Subscription
from loadgen.server.journal import NoJournal


class Outlet:
    """Keeps the payloads it is given."""

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
    """A busy machine leaves the event loop no time to write what is due, and an event comes that need not wait."""

    async def scene() -> list[str]:
        hub = FaultingHub(1 << 20, Counters(), Faults.model_validate({"throttle": "100/s"}), NoJournal())
        outlet = Outlet()
        hub.add(Subscription("s", "/default/a", outlet))
        hub.publish("/default/a", ["1", "2", "3"])
        # The second and the third have slots 10 and 20 ms from now; the loop gets to neither.
        time.sleep(0.05)
        hub.publish("/default/a", ["4"])
        written = list(outlet.events)
        hub.close()
        return written

    assert asyncio.run(scene()) == ["1", "2", "3", "4"]
