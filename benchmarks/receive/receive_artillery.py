"""Write Artillery's script and run Artillery with it: `receive_artillery.py BINARY PORT SUBSCRIBERS FOLDER`."""

import json
import os
import sys
from pathlib import Path

binary, port, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
script = {
    "config": {
        "target": f"ws://127.0.0.1:{port}/event/realtime",
        "phases": [{"duration": 5, "arrivalCount": count}],
        "processor": str(Path(__file__).with_suffix(".js")),
    },
    "scenarios": [{"engine": "ws", "flow": [{"function": "receive"}]}],
}
(folder / "script.json").write_text(json.dumps(script))
os.environ["ARTILLERY_DISABLE_TELEMETRY"] = "true"
os.execv(binary, [binary, "run", "--quiet", str(folder / "script.json")])
