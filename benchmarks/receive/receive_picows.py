"""picows with aiofastnet on uvloop, as a fast reader: `receive_picows.py PORT SUBSCRIBERS [tls]`.

All connections are in one process. msgspec decodes JSON twice per delivery: the message, and the event that it contains
as a JSON string. The latency goes into a list.
"""

import asyncio
import json
import ssl
import sys
import time

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

PORT, COUNT, TLS = int(sys.argv[1]), int(sys.argv[2]), "tls" in sys.argv[3:]
#: Number of connections that are opened at the same time.
AT_ONCE = 50
latencies: list[float] = []
decode = msgspec.json.decode


class Subscriber(WSListener):  # type: ignore[misc]  # mypy skips picows
    """Subscribes, then receives until the sender disconnects."""

    number = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b'{"type":"connection_init"}')

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = decode(frame.get_payload_as_memoryview())
        if message["type"] == "data":
            latencies.append(time.time() - decode(message["event"])["_lg"][3] / 1e9)
        elif message["type"] == "connection_ack":
            wanted = {"type": "subscribe", "id": f"{self.number:036d}", "channel": "/default/bench"}
            transport.send(WSMsgType.TEXT, json.dumps(wanted).encode())


async def receive(number: int, places: asyncio.Semaphore, context: ssl.SSLContext | None) -> None:
    """Subscribe, and wait for the end."""
    subscriber = Subscriber()
    subscriber.number = number
    url = f"{'wss' if TLS else 'ws'}://127.0.0.1:{PORT}/event/realtime"
    async with places:
        transport, _ = await ws_connect(lambda: subscriber, url, ssl_context=context, use_aiofastnet=True)
    await transport.wait_disconnected()


async def main() -> None:
    """Receive with all connections; print the number of deliveries."""
    context = ssl.create_default_context() if TLS else None
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(
        *(receive(number, places, context) for number in range(COUNT)), return_exceptions=True
    )
    print(json.dumps({"deliveries": len(latencies)}), flush=True)


uvloop.run(main())
