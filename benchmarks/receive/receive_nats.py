"""nats-py, all connections in one process: `receive_nats.py PORT SUBSCRIBERS tcp|ws`.

Each message's JSON is decoded in the subscription's callback, and the latency goes into a list. The event loop is
uvloop's.
"""

import asyncio
import json
import sys
import time

import nats
import uvloop
from nats.aio.msg import Msg

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
URL = f"{'ws' if sys.argv[3] == 'ws' else 'nats'}://127.0.0.1:{PORT}"
#: Number of connections that are opened at the same time.
AT_ONCE = 50
latencies: list[float] = []


async def received(message: Msg) -> None:
    """Record the latency of a message."""
    latencies.append(time.time() - json.loads(message.data)["_lg"][3] / 1e9)


async def receive(places: asyncio.Semaphore) -> None:
    """Subscribe, and wait for the end."""
    over = asyncio.Event()

    async def ended() -> None:
        over.set()

    async def failed(error: Exception) -> None:
        """Ignore errors: the library reports one when the sender disconnects."""

    async with places:
        client = await nats.connect(
            URL, allow_reconnect=False, closed_cb=ended, disconnected_cb=ended, error_cb=failed
        )
        await client.subscribe("default.bench", cb=received)
    await over.wait()


async def main() -> None:
    """Receive with all connections; print the number of deliveries."""
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(receive(places) for _ in range(COUNT)))
    # Wait until the subscriptions' tasks have emptied their queues.
    before = -1
    while before != len(latencies):
        before = len(latencies)
        await asyncio.sleep(0.2)
    print(json.dumps({"deliveries": len(latencies)}), flush=True)


uvloop.run(main())
