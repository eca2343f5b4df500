"""Write Tsung's scenario and run it: `receive_tsung.py BINARY PORT SUBSCRIBERS FOLDER`.

Tsung cannot wait for one message after another. It counts the bytes that arrive during a user's think time, and neither
splits them into frames nor decodes them.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

binary, port, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
# A session that is not persistent ends when the sender disconnects, and Tsung ends with its last session.
SCENARIO = f"""<?xml version="1.0"?>
<!DOCTYPE tsung SYSTEM "/usr/share/tsung/tsung-1.0.dtd" []>
<tsung loglevel="error" version="1.0">
  <clients><client host="localhost" use_controller_vm="true" maxusers="{2 * count}"/></clients>
  <servers><server host="127.0.0.1" port="{port}" type="tcp"/></servers>
  <load>
    <arrivalphase phase="1" duration="10" unit="minute">
      <users maxnumber="{count}" arrivalrate="100" unit="second"/>
    </arrivalphase>
  </load>
  <sessions>
    <session name="receive" probability="100" type="ts_websocket" persistent="false" bidi="true">
      <request><websocket type="connect" path="/event/realtime"></websocket></request>
      <request><websocket type="message" frame="text">{{"type":"connection_init"}}</websocket></request>
      <request subst="true"><websocket type="message" frame="text">"""
SCENARIO += """{"type":"subscribe","id":"user-%%_tsung_userid%%","channel":"/default/bench"}</websocket></request>
      <thinktime value="600"/>
      <request><websocket type="close"></websocket></request>
    </session>
  </sessions>
</tsung>
"""
(folder / "scenario.xml").write_text(SCENARIO)
subprocess.run(
    [binary, "-f", str(folder / "scenario.xml"), "-l", str(folder / "log"), "start"],
    check=True,
    stdout=sys.stderr,
)
[log] = (folder / "log").glob("*/tsung.log")
# Format: "stats: name interval total".
totals = re.findall(r"^stats: size_rcv (\d+) (\d+)", log.read_text(), re.MULTILINE)
print(json.dumps({"bytes_with_handshakes": int(totals[-1][1])}))
