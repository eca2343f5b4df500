"""Test a server of several processes: they share one port and one set of subscribers, and end together."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from loadgen.protocol.appsync import messages
from loadgen.server import cluster
from loadgen.server.__main__ import main
from loadgen.server.config import ServerConfig
from loadgen.server.listening import StartError
from loadgen.server.process import Announcement, ServerProcess, ServerStartError
from tests.authority import server_files
from tests.system.server.posting import post

from .conftest import Client
from .test_lifecycle import start as start
from .test_lifecycle import tls_client

Start = Callable[..., subprocess.Popen[str]]
MakeClient = Callable[..., Client]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes need Linux")

#: Number of connections. The probability that one of the three processes gets all of them is 3 ** -19.
SPREAD = 20


@pytest.fixture(scope="module")
def several() -> Iterator[Announcement]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with ServerProcess(["--processes", "3", "--port", str(port)]) as process:
        assert httpx.URL(process.announcement.http_url).port == port
        yield process.announcement


def owners(server: Announcement, clients: list[Client]) -> list[int]:
    """Return for each client the process that holds its connection."""
    held = {
        connection.raddr.port: pid
        for pid in server.pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED
    }
    return [held[client.socket.local_address[1]] for client in clients]


def one_a_process(server: Announcement, client: MakeClient) -> list[Client]:
    """Connect until each process has a client; return one client for each."""
    found: dict[int, Client] = {}
    while len(found) < len(server.pids):
        one = client(server)
        found.setdefault(owners(server, [one])[0], one)
    return [found[pid] for pid in server.pids]


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not count."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def wait_until_gone(pids: list[int]) -> None:
    while any(map(is_running, pids)):
        time.sleep(0.01)


def announced(process: subprocess.Popen[str]) -> Announcement:
    assert process.stdout is not None
    return Announcement(**json.loads(process.stdout.readline()))


def test_every_subscriber_of_every_process_gets_every_event_once(
    several: Announcement, client: MakeClient
) -> None:
    subscribers = [client(several) for _ in range(60)]
    for number, one in enumerate(subscribers):
        assert one.subscribe("/default/all", f"s{number}")["type"] == "subscribe_success"
    spread = Counter(owners(several, subscribers))
    assert set(spread) <= set(several.pids)
    assert len(spread) >= 2
    expected = []
    for number in range(12):
        batch = [json.dumps(f"{number}.{index}") for index in range(5 if number % 2 else 1)]
        if number % 4 < 2:
            assert post(several, "/default/all", *batch).status_code == 200
        else:
            # Each publish uses a new connection, which any of the processes may accept.
            assert client(several).publish("/default/all", batch)["type"] == "publish_success"
        expected += batch
    for number, one in enumerate(subscribers):
        received = [one.receive() for _ in expected]
        assert Counter(message["event"] for message in received) == Counter(expected)
        assert {message["id"] for message in received} == {f"s{number}"}
        assert one.is_silent()


def test_a_publishers_order_is_kept_on_every_process(several: Announcement, client: MakeClient) -> None:
    subscribers, publishers = one_a_process(several, client), one_a_process(several, client)
    for one in subscribers:
        one.subscribe("/default/order/*")
    for turn in range(60):
        for number, publisher in enumerate(publishers):
            # Do not wait for the answers, so that many publishes are under way at the same time.
            events = [json.dumps([number, turn, index]) for index in range(5)]
            message = {"type": "publish", "id": "p", "channel": f"/default/order/{number}", "events": events}
            publisher.send(message | {"authorization": publisher.authorization})
    for publisher in publishers:
        assert {publisher.receive()["type"] for _ in range(60)} == {"publish_success"}
    for one in subscribers:
        received = [json.loads(one.receive()["event"]) for _ in range(60 * 5 * len(publishers))]
        for number in range(len(publishers)):
            of_one = [(turn, index) for sender, turn, index in received if sender == number]
            assert of_one == [(turn, index) for turn in range(60) for index in range(5)]
        assert one.is_silent()


def test_a_subscription_is_live_everywhere_once_it_is_answered(
    several: Announcement, client: MakeClient
) -> None:
    subscribers, publishers = one_a_process(several, client), one_a_process(several, client)
    for turn in range(30):
        channel = f"/default/live/{turn}"
        for subscriber in subscribers:
            assert subscriber.subscribe(channel, f"s{turn}")["type"] == "subscribe_success"
            for number, publisher in enumerate(publishers):
                assert publisher.publish(channel, [str(number)])["type"] == "publish_success"
            assert sorted(subscriber.receive()["event"] for _ in publishers) == ["0", "1", "2"]
            subscriber.ask({"type": "unsubscribe", "id": f"s{turn}"})


def test_wildcards_and_unsubscribe(several: Announcement, client: MakeClient) -> None:
    subscribers, publisher = one_a_process(several, client), client(several)
    for one in subscribers:
        one.subscribe("/default/w/*", "wild")
        one.subscribe("/default/w/a", "exact")
    publisher.publish("/default/w/a", ["1"])
    publisher.publish("/default/w/b/c", ["2"])
    publisher.publish("/default/other", ["3"])
    for one in subscribers:
        received = Counter((message["id"], message["event"]) for message in (one.receive() for _ in range(3)))
        assert received == Counter([("exact", "1"), ("wild", "1"), ("wild", "2")])
        # An event may arrive during the unsubscribe, as with any server.
        assert one.ask({"type": "unsubscribe", "id": "wild"})["type"] == "unsubscribe_success"
    publisher.publish("/default/w/a", ["4"])
    for one in subscribers:
        last = one.receive()
        assert (last["id"], last["event"]) == ("exact", "4")
        assert one.is_silent()


def test_publishing_waits_for_a_process_that_stands_still_and_nothing_is_lost(client: MakeClient) -> None:
    with ServerProcess(["--processes", "2"]) as process:
        server = process.announcement
        asleep, publisher = one_a_process(server, client)
        here = client(server)
        while owners(server, [here]) != [server.pids[1]]:
            here = client(server)
        for one in (asleep, here):
            one.subscribe("/default/a")
        os.kill(server.pids[0], signal.SIGSTOP)
        sent = 0
        try:
            # Publish until an answer takes more than 0.5 s, since the server waits for the stopped process. On a busy
            # machine an answer may be late for another reason; then the loop just ends sooner.
            with suppress(TimeoutError):
                for number in range(100):
                    sent += 1
                    event = json.dumps(f"{number} " + "e" * 100_000)
                    message = {"type": "publish", "id": "p", "channel": "/default/a", "events": [event]}
                    publisher.send(message | {"authorization": publisher.authorization}).receive(0.5)
                pytest.fail("all of it was taken")
        finally:
            os.kill(server.pids[0], signal.SIGCONT)
        assert publisher.receive()["type"] == "publish_success"
        for one in (asleep, here):
            received = [int(json.loads(one.receive()["event"]).split()[0]) for _ in range(sent)]
            assert received == list(range(sent))
            assert one.is_silent()


def test_api_files_work_in_each_process_and_rates_are_those_of_all(
    tmp_path: Path, client: MakeClient
) -> None:
    (tmp_path / "handlers.py").write_text(
        "import os\n\n\ndef on_publish(ctx):\n"
        "    return [{**event, 'payload': [event['payload'], os.getpid()]} for event in ctx.events]\n"
    )
    (tmp_path / "api.yaml").write_text(
        "namespaces: {default: {on_publish: 'handlers.py:on_publish'}}\nquotas: {inbound_events: 30/h}\n"
    )
    with ServerProcess(["--processes", "2", "--api", str(tmp_path / "api.yaml")]) as process:
        server = process.announcement
        publishers, subscribers = one_a_process(server, client), one_a_process(server, client)
        for one in subscribers:
            one.subscribe("/default/a")
        # The processes share the quota of 30 events/h: a token bucket of one event that takes two minutes to refill. So
        # the second process finds it empty.
        assert publishers[0].publish("/default/a", ["1"])["type"] == "publish_success"
        refused = publishers[1].publish("/default/a", ["2"])
        assert refused["errors"][0]["errorType"] == "LimitExceededError"
        for one in subscribers:
            assert json.loads(one.receive()["event"]) == [1, server.pids[0]]


def test_tls(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    context = ssl.create_default_context(cafile=files.authority)
    with ServerProcess(["--processes", "2", *files.options]) as process:
        server = process.announcement
        with tls_client(server, context) as (protocol, received):
            protocol.send_text(messages.subscribe("s", "/default/a", {"x-api-key": server.api_key}))
            assert received().type == "subscribe_success"
            for number in range(SPREAD):
                assert post(server, "/default/a", str(number), verify=context).status_code == 200
            assert sorted(int(str(received().event)) for _ in range(SPREAD)) == list(range(SPREAD))


def test_what_was_acknowledged_is_delivered_before_the_good_bye(client: MakeClient) -> None:
    with ServerProcess(["--processes", "3"]) as process:
        subscribers = one_a_process(process.announcement, client)
        for one in subscribers:
            one.subscribe("/default/a")
        publisher = client(process.announcement)
        for number in range(200):
            publisher.publish("/default/a", [str(number)])
        os.kill(process.announcement.pid, signal.SIGTERM)
        for one in subscribers:
            assert [int(one.receive()["event"]) for _ in range(200)] == list(range(200))
            with pytest.raises(ConnectionClosed):
                one.receive()
            assert one.socket.close_code == 1001
        assert process.stop() == 0


@pytest.mark.parametrize(("whom", "number"), [("parent", signal.SIGINT), ("child", signal.SIGTERM)])
def test_a_signal_to_any_process_is_a_clean_stop_of_all(
    start: Start, whom: str, number: signal.Signals
) -> None:
    process = start("--processes", "2", "--announce")
    server = announced(process)
    assert server.pid == process.pid
    assert len({server.pid, *server.pids}) == 3
    os.kill(server.pid if whom == "parent" else server.pids[1], number)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert not any(map(is_running, server.pids))


def test_the_end_of_standard_input_ends_all(start: Start) -> None:
    process = start("--processes", "2", "--announce", "--exit-with-stdin")
    server = announced(process)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert not any(map(is_running, server.pids))


def test_a_process_that_dies_ends_all_with_a_sentence(start: Start, client: MakeClient) -> None:
    process = start("--processes", "3", "--announce")
    server = announced(process)
    clients = one_a_process(server, client)
    os.kill(server.pids[1], signal.SIGKILL)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"loadgen server: process {server.pids[1]}, one of the 3 that serve, was ended by SIGKILL: "
        "the server stops\n"
    )
    assert not any(map(is_running, server.pids))
    for one in clients:
        with pytest.raises(ConnectionClosed):
            one.receive()
    assert [one.socket.close_code for one in clients] == [1001, 1006, 1001]


def test_nobody_is_left_when_the_parent_is_killed(start: Start) -> None:
    process = start("--processes", "3", "--announce")
    server = announced(process)
    process.kill()
    wait_until_gone(list(server.pids))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--processes", "0"], "the number of processes is 0: choose 1-64"),
        (["--processes", "-1"], "the number of processes is -1"),
        (["--processes", "65"], "the number of processes is 65"),
        (["--processes", "2", "--journal", "j"], "--journal needs one process"),
        (["--processes", "2", "--faults", "faults.yaml"], "--faults needs one process"),
        (["--processes", "2", "--host", "192.0.2.1"], "is not an address of this machine"),
        (["--processes", "2", "--host", "no.such.host.invalid"], "has no address"),
        (["--processes", "2", "--certfile", __file__, "--keyfile", __file__], "not a PEM certificate"),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faults.yaml").write_text("seed: 7\n")
    # Call `main` in this process: it finds each mistake before it forks.
    assert main(options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("loadgen server: ")
    assert err.count("\n") == 1


def test_the_command_line_for_people_says_it_too() -> None:
    command = [sys.executable, "-P", "-m", "loadgen", "serve", "--processes", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the number of processes is 0: choose 1-64" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_is_taken_even_by_another_server_that_shares_its_own(several: Announcement) -> None:
    port = httpx.URL(several.http_url).port
    with (
        pytest.raises(ServerStartError, match=f"^port {port} on 127.0.0.1 is taken"),
        ServerProcess(["--processes", "2", "--port", str(port)]),
    ):
        pass


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    config = ServerConfig(api_key="da2-abcdefghijklmnopqrstuvwxyz", processes=2)
    with pytest.raises(StartError, match=r"^--processes needs Linux"):
        cluster.serve(config, announce=False, exit_with_stdin=False)
