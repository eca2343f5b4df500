"""Test that the benchmarks' own receivers and publishers work; their speed is not tested."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S

RECEIVE = """
import json, sys
from pathlib import Path
from receive import receivers
from receive.running import running
from receive.sender import Order

if __name__ == "__main__":
    receiver = {"ws": receivers.OURS, "wss": receivers.OURS_TLS}[sys.argv[1]]
    with running(receiver, 3, Path(sys.argv[2])) as one:
        one.send(Order(100.0, 2, 0.2))
        one.stop()
    print(json.dumps({"sent": one.sent, "received": one.received}))
"""
PUBLISH = """
import json, sys
from pathlib import Path
from speed.publish import PUBLISHERS, REAL, run_publisher

if __name__ == "__main__":
    (publisher,) = [one for one in PUBLISHERS if one.scheduled and one.word == sys.argv[1]]
    print(json.dumps(run_publisher(publisher, REAL, 100.0, 0.2, Path(sys.argv[2]))))
"""
SATURATE = """
import json, socket, sys, threading
from receive import saturating, sender

if __name__ == "__main__":
    ours, theirs = socket.socketpair()
    person = sender.Subscriber(ours, None)
    person._prepare("0" * 36)
    came = bytearray()

    def read():
        while data := theirs.recv(65536):
            came.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    sent = sender._saturate([person], 5, sender.Order(None, 7, 0.05))
    ours.close()
    reader.join()
    size = sender.FRAME_BYTES
    events = [json.loads(json.loads(bytes(came[at + 4 : at + size]))["event"]) for at in range(0, len(came), size)]
    stamps = [stamp[2:] for event in events for stamp in event.values() if isinstance(stamp, list)]
    print(json.dumps({"sent": sent.frames, "stamps": stamps, "began_ns": sent.began_ns, "ended_ns": sent.ended_ns}))
"""
SETTINGS = """
import importlib, json, sys
from gevent import config, monkey

if __name__ == "__main__":
    monkey.patch_all()
    importlib.import_module(sys.argv[1])
    print(json.dumps({"greenlets keep their spawners": config.track_greenlet_tree, "pandas": "pandas" in sys.modules}))
"""
SCALE = """
import json, sys
from argparse import Namespace
from pathlib import Path
from analysis.record.folders import runs_in
from scale.__main__ import measure

if __name__ == "__main__":
    command = [sys.executable, "-m", "loadgen"]
    options = Namespace(rates=[20_000.0], seconds=2.5, clients=3, complete=True, command=command)
    options.stored = sys.argv[1] == "stored"
    steps = measure(options, 3, Path(sys.argv[2]))
    (made,) = runs_in(Path(sys.argv[2]) / "results")
    print(json.dumps({"steps": len(steps), "manifest": json.loads((made / "manifest.json").read_text())}))
"""
CONNECT = """
import json, sys
from pathlib import Path
from speed import connect

if __name__ == "__main__":
    connect.FEW, connect.MANY, connect.AT_ONCE = 4, 12, 4
    kind = {"ws": connect.PLAIN, "wss": connect.TLS, "resumed": connect.RESUMED}[sys.argv[1]]
    print(json.dumps(connect.measured(connect.Client(connect.OURS, kind), None, Path(sys.argv[2]))))
"""


def figures_of(program: str, word: str, folder: Path) -> Any:
    """Run a program with the benchmarks on its import path; return the JSON that it prints."""
    script = folder / "program.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script), word, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{REPO / 'benchmarks'}:{REPO}"},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("word", ["ws", "wss"])
def test_our_receiver_records_all_that_its_sender_sends(word: str, tmp_path: Path) -> None:
    figures = figures_of(RECEIVE, word, tmp_path)
    assert figures["received"] == figures["sent"] > 0


@pytest.mark.parametrize("word", ["http", "websocket"])
def test_our_publisher_is_answered_for_all_that_it_sends(word: str, tmp_path: Path) -> None:
    figures = figures_of(PUBLISH, word, tmp_path)
    assert figures["accepted"] == figures["events"] > 0


@pytest.mark.parametrize("word", ["ws", "wss", "resumed"])
def test_our_users_connect_and_resume_sessions_where_that_is_measured(word: str, tmp_path: Path) -> None:
    figures = figures_of(CONNECT, word, tmp_path)
    assert figures["cpu_s"] > 0
    assert (figures["resumed"] > 0) == (word == "resumed")


def test_our_worker_has_the_settings_of_a_run_which_change_what_a_connect_costs(tmp_path: Path) -> None:
    of_benchmark = figures_of(SETTINGS, "our_worker", tmp_path)
    assert of_benchmark == figures_of(SETTINGS, "loadgen.run.locust.install", tmp_path)
    assert of_benchmark == {"greenlets keep their spawners": False, "pandas": False}


def test_the_saturating_sender_in_c_sends_frames_like_the_other_each_with_its_own_stamp(
    tmp_path: Path,
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    found = figures_of(SATURATE, "-", tmp_path)
    assert found["sent"] == len(found["stamps"]) > 0
    assert [sequence for sequence, _, _ in found["stamps"]] == list(
        range(1_000_000_005, 1_000_000_005 + found["sent"])
    )
    for _, intended_ns, sent_ns in found["stamps"]:
        assert found["began_ns"] <= intended_ns == sent_ns <= found["ended_ns"]


@pytest.mark.parametrize("way", ["messages", "stored"])
def test_a_real_master_takes_the_whole_record_of_simulated_workers(tmp_path: Path, way: str) -> None:
    found = figures_of(SCALE, way, tmp_path)
    workers = found["manifest"]["workers"]
    assert len(workers) == 3
    for worker in workers:
        assert worker["finished"] is True
        assert worker["gathered_by"] == ("storage" if way == "stored" else way)
        assert worker["rows"]["deliveries"] == worker["deliveries"] > 0
        assert worker["clients"] in (3, 4)
    assert found["manifest"]["refused"] is None
    assert found["manifest"]["status"] == "complete", found["manifest"]["reason"]
