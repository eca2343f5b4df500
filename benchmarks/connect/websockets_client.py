"""The `websockets` library's asyncio client: `websockets_client.py PORT FEW MANY AT_ONCE [tls]`."""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from connect.process import CHANNEL, KEY, cpu_s, pss_kb
from loadgen.protocol.appsync.auth import SUBPROTOCOL, ApiKey, encode_header_subprotocol


async def main() -> None:
    """Connect and print the figures as a line of JSON."""
    port, few, many, at_once = map(int, sys.argv[1:5])
    context = ssl.create_default_context() if len(sys.argv) > 5 else None
    login = ApiKey(KEY)
    host = f"127.0.0.1:{port}"
    subprotocols = [
        Subprotocol(SUBPROTOCOL),
        Subprotocol(encode_header_subprotocol(login.connect_headers(host))),
    ]
    url = f"{'wss' if context else 'ws'}://{host}/event/realtime"
    slots, open_ones = asyncio.Semaphore(at_once), list[ClientConnection]()

    async def subscribe(number: int) -> None:
        async with slots:
            connection = await connect(
                url, subprotocols=subprotocols, ssl=context, compression=None, ping_interval=None, proxy=None
            )
            await connection.send('{"type":"connection_init"}')
            assert json.loads(await connection.recv())["type"] == "connection_ack"
            message = {
                "type": "subscribe", "id": f"s{number}", "channel": CHANNEL,
                "authorization": login.frame_authorization(host, b""),
            }  # fmt: skip
            await connection.send(json.dumps(message))
            assert json.loads(await connection.recv())["type"] == "subscribe_success"
            open_ones.append(connection)

    await asyncio.gather(*map(subscribe, range(few)))
    before_kb, before_s, began_s = pss_kb(), cpu_s(), time.monotonic()
    await asyncio.gather(*map(subscribe, range(few, many)))
    seconds, used_s = time.monotonic() - began_s, cpu_s() - before_s
    print(json.dumps({"cpu_s": used_s, "seconds": seconds, "kb": pss_kb() - before_kb}), flush=True)


asyncio.run(main())
