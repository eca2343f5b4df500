"""Test whole runs with keys: workers with a key, strangers without, and a hostile worker with a key."""

import base64
import json
import os
import socket
import struct
import subprocess
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import psutil
import zmq

from analysis.record.folders import runs_in
from loadgen.run import join, messages
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER
from loadgen.run.registration import introduction
from tests.system.harness import Finished, free_port, only_run, overrides, read, start
from tests.system.run.waiting import until
from tests.system.service import Service
from tests.system.users.player import Player

SMALL = (
    "gates=[]",
    "clients.readers.count=8",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=2",
    "clients.commenters.publish.rate=10/s",
    "phases.warmup=300ms",
    "phases.measure=1500ms",
    "phases.drain=500ms",
)
NAMES = (JOIN_MASTER, JOIN_WORKER)
NONE = dict.fromkeys(NAMES, "")


def master(results: Path, port: int, expect: int, *more: str) -> "subprocess.Popen[str]":
    return start(
        *("run", "comments", "--master", "--expect-workers", str(expect), "--master-port", str(port)),
        *("--results", str(results), "--workers-timeout", "120", *more, *overrides(SMALL)),
        env=NONE,
    )


def wait_for_port(port: int) -> None:
    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    until(listens, "the master listens")


def command_lines(*started: "subprocess.Popen[str]") -> str:
    """Return the command lines that the process list shows for the ``started`` processes and all their descendants."""
    shown = ""
    for each in started:
        with suppress(psutil.Error):
            process = psutil.Process(each.pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    shown += " ".join(one.cmdline())
    return shown


def locust_of(started: "subprocess.Popen[str]") -> psutil.Process:
    for child in psutil.Process(started.pid).children(recursive=True):
        if "locust" in child.cmdline():
            return child
    raise AssertionError("no Locust process")


def said_by_workers(commands: Player, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the status message and the last message of a worker.

    Another process creates them, because importing Locust patches the standard library.
    """
    script = folder / "said.py"
    script.write_text(
        "import json, tests.run.test_worker_messages as of\nprint(json.dumps([of.STATUS, of.FINISHED]))"
    )
    done = commands.play(script)
    assert done.code == 0, done.said
    status, last = json.loads(done.out)
    return status, last


class Peer:
    """A worker made by the test, which sends a master any messages."""

    def __init__(self, port: int, name: str, key: join.WorkerKey | None) -> None:
        self.name = name
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IDENTITY, name.encode())
        if key is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.master_public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def say(self, kind: str, data: Any = None, of: str | None = None) -> None:
        if kind.startswith("loadgen.") and kind != messages.HELLO:
            data = {messages.WIRE: messages.FORMAT, **data}
        self.socket.send(msgpack.dumps((kind, data, of or self.name)))

    def beat(self) -> None:
        """Send a heartbeat, because the master gives up a worker after some seconds without one."""
        self.say("heartbeat", {"state": "ready", "current_cpu_usage": 0.0, "current_memory_usage": 0})

    def hear(self, kind: str, timeout_s: float = 120) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.beat()
            if self.socket.poll(500):
                heard = msgpack.loads(self.socket.recv(), strict_map_key=False)
                if heard[0] == kind:
                    return heard[1]
        raise AssertionError(f"no {kind} came")


def noise(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(10_000))
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32))
        one.sendall(b"\x02" + struct.pack(">Q", 1 << 40) + bytes(1000))


def test_a_run_with_keys_is_whole_while_strangers_knock_and_no_secret_shows(
    tmp_path: Path, commands: Player
) -> None:
    results, path, port = tmp_path / "results", tmp_path / "run.join", free_port()
    running = master(results, port, 2, "--join", str(path))
    wait_for_port(port)
    assert path.stat().st_mode & 0o777 == join.master_path(path).stat().st_mode & 0o777 == 0o600
    here = ("run", "--worker", "--master-port", str(port))
    other = tmp_path / "other.join"
    join.write(other, join.make())
    # These workers have no key or a wrong one. The master refuses each at once and says why.
    refused = commands.command(tmp_path, "loadgen", *here, env=NONE)
    mistaken = commands.command(tmp_path, "loadgen", *here, "--join", str(other), env=NONE)
    stranger = Peer(port, "stranger", None)
    stranger.say("client_ready", "2.47.0")
    stranger.say("loadgen.hello", messages.plain(introduction("1", None)))
    noise(port)
    text = join.for_worker(path)
    assert text is not None
    by_environment = {JOIN_WORKER: text.text(), JOIN_MASTER: ""}
    workers = [start(*here, "--join", str(path), env=NONE), start(*here, env=by_environment)]
    secrets = [
        part for each in (path, join.master_path(path)) for part in each.read_text().strip().split(".")[1:]
    ]
    shown = ""
    while running.poll() is None:
        shown += command_lines(running, *workers)
        time.sleep(0.3)
    finished = Finished(running, 60)
    left = [Finished(worker, 60) for worker in workers]
    stranger.socket.close()
    assert finished.code in (0, 3), finished.said
    assert [each.code for each in left] == [0, 0], [each.said for each in left]
    assert refused.code == 2, refused.said
    assert "wants a key" in refused.err
    assert "--join" in refused.err
    assert mistaken.code == 2, mistaken.said
    assert "has not the master's key of this join file" in mistaken.err
    assert "Traceback" not in refused.said + mistaken.said + finished.said
    assert f"a client without the key of this run connected to port {port}, from" in finished.err
    assert "127.0.0.1" in finished.err
    folder = only_run(results)
    manifest = read(folder / "manifest.json")
    assert [worker["finished"] for worker in manifest["workers"]] == [True, True]
    assert manifest["status"] == "complete"
    assert sum(manifest["refused"]["strangers"].values()) >= 4
    assert manifest["refused"]["messages"] == {}
    assert read(folder / "summary.json")["ledger"]["balances"]
    said = finished.said + refused.said + mistaken.said + "".join(each.said for each in left)
    record = "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())
    assert "locust" in shown
    for secret in secrets:
        assert secret not in shown
        assert secret not in said
        assert secret not in record


def test_workers_of_one_machine_have_a_key_by_themselves(tmp_path: Path, service: Service) -> None:
    running = start(
        *("run", "comments", "--processes", "2", "--results", str(tmp_path)),
        *(*service.options, *overrides(SMALL)),
        env=NONE,
    )
    found: list[int] = []

    def has_a_port() -> bool:
        for child in psutil.Process(running.pid).children(recursive=True):
            with suppress(psutil.Error):
                line = child.cmdline()
                if "--master-port" in line:
                    found.append(int(line[line.index("--master-port") + 1]))
        return bool(found)

    until(has_a_port, "a worker is told its master's port")
    port = found[0]
    wait_for_port(port)
    stranger = Peer(port, "stranger", None)
    stranger.say("client_ready", "2.47.0")
    stranger.say("loadgen.hello", messages.plain(introduction("1", None)))
    finished = Finished(running, 90)
    assert not stranger.socket.poll(0)
    stranger.socket.close()
    assert finished.code in (0, 3), finished.said
    manifest = read(only_run(tmp_path) / "manifest.json")
    assert manifest["status"] == "complete", finished.said
    assert [worker["finished"] for worker in manifest["workers"]] == [True, True]
    assert manifest["late_workers"] == []
    assert sum(manifest["refused"]["strangers"].values()) >= 1


def test_a_worker_with_the_key_that_means_ill_harms_its_own_part_and_no_more(
    tmp_path: Path, commands: Player
) -> None:
    results, path, port = tmp_path / "results", tmp_path / "run.join", free_port()
    running = master(results, port, 2, "--join", str(path))
    # Do this while the master starts.
    status, last = said_by_workers(commands, tmp_path)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    bomb = base64.b64encode(struct.pack(">II", 0x1C849314, len(packed)) + packed).decode()
    wait_for_port(port)
    good = start("run", "--worker", "--master-port", str(port), "--join", str(path), env=NONE)
    evil = Peer(port, "evil_1", join.for_worker(path))
    evil.say("client_ready", "2.47.0")
    evil.say("loadgen.hello", messages.plain(introduction("1", None)))
    begin = evil.hear("loadgen.begin")
    process = locust_of(running)
    before = process.memory_info().rss

    def workers() -> set[str]:
        evil.beat()
        manifests = [read(path / "manifest.json") for path in runs_in(results)]
        return {worker["id"] for manifest in manifests for worker in manifest["workers"]}

    until(lambda: len(workers()) == 2, "both workers are on record")
    (victim,) = workers() - {evil.name}
    for _ in range(20):
        evil.beat()
        evil.say("loadgen.status", {**status, "histogram": bomb})
        evil.say("loadgen.status", {**status, "worker": victim, "broken": "forged"})
        evil.say("loadgen.finished", {**last, "worker": victim, "files": None}, of=victim)
        evil.say("loadgen.finished", {**last, "id": "forged", "finished": True})
        evil.say(
            "loadgen.spool", {"name": "deliveries-0000.arrows", "at": 0, "piece": b"x", "crc32": 0, "x": 1}
        )
        evil.say("loadgen.claim", {"request": 1, "wanted": {"subscriber": -1}})
        evil.say("loadgen.interrupted", {})
        evil.say("loadgen.status", {**status, messages.WIRE: messages.FORMAT - 1})
        evil.socket.send(b"\x91" * 100_000)
        evil.socket.send_multipart([b"a"] * 100)
    # The master processes messages in order. When it answers this ping, it has processed all messages above.
    evil.say("loadgen.ping", {"sent_ns": 1, "sent_raw_ns": None, "bound_ns": None})
    assert evil.hear("loadgen.pong")["sent_ns"] == 1
    peak = 0
    for _ in range(50):
        time.sleep(0.02)
        peak = max(peak, process.memory_info().rss)
    assert peak - before < 100 << 20
    finished = Finished(running, 120)
    Finished(good, 60)
    evil.socket.close()
    # The hostile worker plays no client, so the run is incomplete. The record says so, and lists that worker.
    assert finished.code == 3, finished.said
    assert "Traceback" not in finished.said
    manifest = read(only_run(results) / "manifest.json")
    by_id = {worker["id"]: worker for worker in manifest["workers"]}
    assert set(by_id) == {victim, "evil_1"}
    assert by_id[victim]["left"] is None
    assert by_id[victim]["pid"] != by_id["evil_1"]["pid"]
    assert begin["worker"] == by_id["evil_1"]["worker"]
    assert "forged" not in str(manifest["workers"])
    counted = manifest["refused"]["messages"]
    named = f"worker {by_id['evil_1']['worker']} ("
    assert all(sentence.startswith(named) for sentence in counted), counted
    assert any(f"it has message format {messages.FORMAT - 1}, and this process" in each for each in counted)
    assert sum(counted.values()) >= 20 * 9, (manifest["reason"], finished.said)
