"""k6 and wrk as publishers: requests per CPU-second, with the bodies that our publisher sends.

k6 keeps a constant arrival rate, as our publisher does, and makes each event with its stamp. wrk sends prepared bodies
as fast as its connections allow; it has no schedule, no stamps and no record of single requests.
"""

import json
import re
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadgen.measure.stamp import encode_event
from speed.messages import messages
from speed.peers import program

CLIENTS, BATCH, PAYLOAD_BYTES = 20, 5, 200
#: Requests per second of k6: low enough for one core, so that k6 keeps the rate.
K6_PER_S = 1_000
#: Length (s) of a first run, which measures the cost of starting; this cost is subtracted from the second run.
START_S = 1
_BODIES = 50

_K6 = """\
import http from 'k6/http';
import {{ check }} from 'k6';
const MESSAGES = JSON.parse(open('./messages.json'));
export const options = {{
  discardResponseBodies: true,
  scenarios: {{ publish: {{
    executor: 'constant-arrival-rate', rate: {rate}, timeUnit: '1s', duration: '{seconds}s',
    preAllocatedVUs: {clients}, maxVUs: {most},
  }} }},
}};
const PARAMS = {{ headers: {{ 'content-type': 'application/json', 'x-api-key': 'da2-benchmark' }} }};
let sequence = 0;
export default function () {{
  const events = [];
  for (let k = 0; k < {batch}; k++) {{
    const now = Date.now() * 1000000;
    const tail = MESSAGES[sequence % MESSAGES.length];
    events.push(`{{"_lg":[7,${{__VU}},${{sequence++}},${{now}},${{now}}]${{tail}}`);
  }}
  const body = JSON.stringify({{ channel: '/default/bench', events: events }});
  check(http.post('http://127.0.0.1:{port}/event', body, PARAMS), {{ ok: (answer) => answer.status === 200 }});
}}
"""
_WRK = """\
local bodies, at = {{}}, 0
for line in io.lines("bodies.txt") do bodies[#bodies + 1] = line end
local headers = {{ ["content-type"] = "application/json", ["x-api-key"] = "da2-benchmark" }}
local requests = {{}}
init = function() for k, body in ipairs(bodies) do requests[k] = wrk.format("POST", "/event", headers, body) end end
request = function() at = at % #requests + 1; return requests[at] end
"""


def k6(port: int, kind: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Run k6; raises RuntimeError if it failed or did not keep its rate."""
    # The rest of an event's JSON after its stamp: one text if events are padding, else one for each real message.
    usual = encode_event(7, 10, 100, 10**18, 10**18, PAYLOAD_BYTES)
    tails = [usual[usual.index("]") + 1 :]] if kind == "padding" else [f",{each[1:]}" for each in messages()]
    (folder / "messages.json").write_text(json.dumps(tails))

    def ran(lasting_s: float) -> tuple[int, int, float]:
        script = _K6.format(
            rate=K6_PER_S,
            seconds=f"{lasting_s:g}",
            clients=CLIENTS,
            most=10 * CLIENTS,
            batch=BATCH,
            port=port,
        )
        (folder / "publish.js").write_text(script)
        summary = folder / "summary.json"
        command = [
            str(program("k6")), "run", "--quiet", "--no-usage-report", "--address", "127.0.0.1:0",
            "--summary-export", str(summary), "publish.js",
        ]  # fmt: skip
        _, cpu_s = _timed(command, folder)
        metrics = json.loads(summary.read_text())["metrics"]
        if dropped := metrics.get("dropped_iterations", {}).get("count"):
            raise RuntimeError(f"k6 left out {dropped:,} requests that were due")
        return metrics["http_reqs"]["count"], metrics["checks"]["passes"], cpu_s

    begun, good, start_s = ran(START_S)
    requests, accepted, cpu_s = ran(START_S + seconds)
    return {
        "requests": requests - begun,
        "cpu_s": cpu_s - start_s,
        "seconds": seconds,
        "events": (requests + begun) * BATCH,
        "accepted": (accepted + good) * BATCH,
    }


def wrk(port: int, kind: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Run wrk; raises RuntimeError if it failed or got other answers than 200."""
    texts = messages()
    with (folder / "bodies.txt").open("w") as file:
        for number in range(_BODIES):
            numbers = range(number * BATCH, (number + 1) * BATCH)
            if kind == "padding":
                events = [encode_event(7, 10, each, 10**18, 10**18, PAYLOAD_BYTES) for each in numbers]
            else:
                events = [
                    f'{{"_lg":[7,10,{each},{10**18},{10**18}],{texts[each % len(texts)][1:]}'
                    for each in numbers
                ]
            print(json.dumps({"channel": "/default/bench", "events": events}), file=file)
    (folder / "publish.lua").write_text(_WRK.format())
    command = [str(program("wrk")), "-t1", f"-c{CLIENTS}", f"-d{seconds:.0f}s", "-s", "publish.lua"]
    said, cpu_s = _timed([*command, f"http://127.0.0.1:{port}/event"], folder)
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk: {said[-300:]}")
    requests = int(found[1])
    return {
        "requests": requests,
        "cpu_s": cpu_s,
        "seconds": float(found[2]),
        "events": requests * BATCH,
        "accepted": requests * BATCH,
    }


def _timed(command: Sequence[str], folder: Path) -> tuple[str, float]:
    """Run a command; return its output and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(
            f"{command[0]}: ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        )
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
