"""`mosquitto_sub`, one process for each connection: `receive_mosquitto.py BINARY PORT SUBSCRIBERS FOLDER`.

Each process prints the time and the payload of every message to a file that all share. `mosquitto_sub` neither decodes
payloads nor computes latencies. It reconnects for ever, so this script ends all processes when the sender no longer
listens.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

binary, port, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
#: Seconds between two checks of whether the sender still listens.
LOOK_S = 0.5
#: The part of a line of /proc/net/tcp that stands for a socket listening at the port.
LISTENING = f" 0100007F:{port:04X} 00000000:0000 0A ".encode()
TOPIC = "default/bench"


def counted(path: Path) -> int:
    """Return the number of lines in a file."""
    lines = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            lines += part.count(b"\n")
    return lines


messages = folder / "messages"
with messages.open("ab") as out:
    command = [binary, "-h", "127.0.0.1", "-p", str(port), "-t", TOPIC, "-F", "%U %p"]
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out) for _ in range(count)]
while LISTENING in Path("/proc/net/tcp").read_bytes():
    time.sleep(LOOK_S)
for process in processes:
    process.terminate()
for process in processes:
    process.wait()
print(json.dumps({"deliveries": counted(messages)}), flush=True)
messages.unlink()
