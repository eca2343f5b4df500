"""Test that processes end and fork properly while the receive thread reads."""

import subprocess
import sys

import pytest

from loadgen import native
from tests.native.test_thread import TURNS_S
from tests.paths import REPO
from tests.system.harness import STUCK_S

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

IMPORTS = """
import os, socket, sys, threading, time
from loadgen import native
from tests.native.test_thread import Taking, add, delivery
"""
#: Runs the rest of a script three times, one after the other, in forked processes. Forking saves repeating the imports.
THREE_TIMES = """
for _ in range(3):
    child = os.fork()
    if not child:
        break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        os._exit(code if code > 0 else 100)
else:
    os._exit(0)
"""
FLOODED = f"""
sys.setswitchinterval({TURNS_S})

def flood(peer):
    while True:
        peer.send(delivery(1) + b"\\x89\\x00")

poller = native.Poller(print, 1 << 16)
rows = native.Rows(9, 5)
fast_path = native.DeliveryFastPath(rows)
fast_path.add("s1", 5)
pairs = [socket.socketpair() for _ in range(4)]
for ours, peer in pairs:
    ours.setblocking(False)
    add(poller, ours, Taking())
    poller.route(ours.fileno(), None, fast_path)
    threading.Thread(target=flood, args=(peer,), daemon=True).start()
time.sleep(0.05)
poller.process(10)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORTS + THREE_TIMES + FLOODED + script],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=STUCK_S,
    )


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="the script's end"),
        pytest.param("sys.exit(0)", id="exit"),
        pytest.param("os._exit(0)", id="at once"),
        pytest.param("sys.modules['kept'] = poller", id="kept until the very end"),
        pytest.param("poller = None", id="the poller's end"),
        pytest.param("import atexit; atexit.register(lambda: poller.process(10))", id="used while it ends"),
    ],
)
def test_the_interpreter_ends_while_the_thread_reads(end: str) -> None:
    ended = run(end)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


FORKED = """
import gc
for turn in range(10):
    child = os.fork()
    if not child:
        # The parent's rows and poller are whole, and of no use to the child; it makes its own.
        rows.take()
        try:
            poller.add(pairs[0][1].fileno(), Taking(), 1)
        except RuntimeError:
            pass
        else:
            os._exit(3)
        poller.remove(pairs[0][0].fileno())
        del poller
        gc.collect()
        own, ours_and_theirs, taking = native.Poller(print), socket.socketpair(), Taking()
        add(own, ours_and_theirs[0], taking)
        ours_and_theirs[1].send(b"child")
        until = time.monotonic() + 600
        while taking.data != b"child" and time.monotonic() < until:
            own.process(10)
        os._exit(0 if taking.data == b"child" else 4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # The parent's socket that the child has removed is still read.
    rows.take()
    until = time.monotonic() + 600
    while not (taken := rows.take()):
        poller.process(100)
        assert time.monotonic() < until
"""


def test_a_forked_process_has_a_poller_of_its_own_and_leaves_the_parents_alone() -> None:
    # The flood consists of whole deliveries, because the thread would wait for the rest of a partial one.
    script = FORKED.replace("poller.process(100)", "time.sleep(0.001)")
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORTS + FLOODED.replace(' + b"\\x89\\x00"', "").replace("1 << 16", "1 << 30") + script,
        ],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=STUCK_S,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
