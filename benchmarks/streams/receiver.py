"""Receive with our receive path, set up and recording as in a worker; the command line has a JSON object of settings.

The settings are `url`, `connections`, `subscriptions` (per connection), `channels` (that many subscriptions have a
channel each, and the others share one), `folder`, and `recorded` (a file in which the receiver keeps the number of
recorded deliveries). It prints "ready" when it has subscribed, and at the end the number of recorded deliveries.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gevent  # noqa: E402
from gevent.socket import wait_read  # noqa: E402
from our_worker import OurWorker  # noqa: E402

from loadgen.measure.recorder import Interval  # noqa: E402
from loadgen.resolve import ClientPlan, SubscriptionPlan  # noqa: E402


def main() -> None:
    asked = json.loads(sys.argv[1])
    worker = OurWorker(asked["url"], Path(asked["folder"]))
    each, channels = asked["subscriptions"], asked["channels"]

    def plan(number: int) -> ClientPlan:
        subscriptions = tuple(
            SubscriptionPlan(place, channel(place, channels))
            for place in range(number * each, (number + 1) * each)
        )
        return ClientPlan(number, "g", number, subscriptions, None, 0)

    worker.connected([plan(number) for number in range(asked["connections"])], 60.0)
    while worker.progress.ready < asked["connections"] * each:
        gevent.sleep(0.05)
    print("ready", flush=True)
    recorded = Path(asked["recorded"])

    def count(_: Interval) -> None:
        recorded.write_text(str(worker.recorder.deliveries))

    with worker.flushing(count):
        # Wait only until standard input is readable: reading it would block the hub.
        wait_read(sys.stdin.fileno())
    worker.print_received()
    os._exit(0)


def channel(subscription: int, channels: int) -> str:
    """Return the channel of a subscription."""
    return f"/default/growth/{subscription}" if subscription < channels else "/default/growth/idle"


main()
