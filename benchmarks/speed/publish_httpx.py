"""httpx with gevent at full speed: `publish_httpx.py PORT each|shared SECONDS padding|real`.

It sends the same bodies as our publisher, with equally many users, and each user sends one request after another. It
has no schedule and no timer, and records only the latency of each request in a list.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gevent  # noqa: E402
import httpx  # noqa: E402

from loadgen.measure.stamp import encode_event  # noqa: E402
from speed.messages import messages  # noqa: E402

CLIENTS = 20
BATCH = 5
PAYLOAD_BYTES = 200
LEAD_S = 0.5
HEADERS = {"content-type": "application/json", "x-api-key": "da2-benchmark"}


def main() -> None:
    url = f"http://127.0.0.1:{sys.argv[1]}/event"
    seconds = float(sys.argv[3])
    shared = httpx.Client() if sys.argv[2] == "shared" else None
    texts = [text[1:] for text in messages()]

    def event(user: int, sequence: int, at_ns: int) -> str:
        if sys.argv[4] == "padding":
            return encode_event(7, user, sequence, at_ns, at_ns, PAYLOAD_BYTES, None)
        return f'{{"_lg":[7,{user},{sequence},{at_ns},{at_ns}],{texts[sequence % len(texts)]}'

    latencies: list[float] = []
    accepted = 0
    over = False

    def publish(user: int) -> None:
        nonlocal accepted
        client = shared or httpx.Client()
        sequence = 0
        while not over:
            began = time.time_ns()
            events = [event(user, sequence + k, began) for k in range(BATCH)]
            sequence += BATCH
            body = json.dumps({"channel": "/default/bench", "events": events}).encode()
            response = client.post(url, content=body, headers=HEADERS)
            if response.status_code == 200:
                answer = response.json()
                accepted += len(answer["successful"])
            latencies.append((time.time_ns() - began) / 1e9)

    users = [gevent.spawn(publish, user) for user in range(CLIENTS)]
    gevent.sleep(LEAD_S)
    began, cpu_s, requests = time.monotonic(), time.process_time(), len(latencies)
    gevent.sleep(seconds)
    cpu_s, requests = time.process_time() - cpu_s, len(latencies) - requests
    took_s = time.monotonic() - began
    over = True
    gevent.joinall(users)
    result = {
        "requests": requests,
        "cpu_s": cpu_s,
        "seconds": took_s,
        "events": len(latencies) * BATCH,
        "accepted": accepted,
    }
    print(json.dumps(result))


main()
