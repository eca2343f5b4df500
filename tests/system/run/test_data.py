"""Test runs with data: the number of processes does not change clients or channels, and no secret is recorded."""

import shutil
import time
from pathlib import Path

import psutil
import pytest

import analysis
from tests.system.harness import STUCK_S, Finished, demanded, free_port, loadgen, only_run, read, start

pytestmark = pytest.mark.long

SCENARIO = """version: 1
name: mail
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
  topics: {jsonl: topics.jsonl, assign: in-turn}
clients:
  users: {count: 60, ramp: 200/s, subscribe: ["/default/users/{people.id}", "/default/plans/{people.plan}/*"]}
  backend: {count: 3, publish: {channel: "/default/users/{anyone.id}", rate: 45/s, payload: 150B}}
  news: {count: 2, publish: {channel: "/default/plans/free/{topics.at.name}", rate: 10/s, payload: 150B}}
phases: {warmup: 500ms, measure: 2s, drain: 1s}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the scenario and its files, written as by a spreadsheet program."""
    found = tmp_path_factory.mktemp("scenario")
    (found / "people.csv").write_text(
        "\ufeffid;token;plan\r\n"
        + "".join(f'"user-{n}";tok-secret-{n};{("free", "pro")[n % 2]}\r\n' for n in range(80)),
        newline="",
    )
    (found / "topics.jsonl").write_text("".join(f'{{"at": {{"name": "t{n}"}}}}\n' for n in range(7)))
    (found / "mail.yaml").write_text(SCENARIO)
    return found


def played(run: Path) -> tuple[dict[int, str], dict[tuple[int, int], str]]:
    """Return the channel of each subscription and of each event, after assertions that hold for all runs."""
    record = analysis.load(run)
    summary = read(run / "summary.json")
    assert summary["ledger"]["balances"]
    assert summary["exit_code"] == demanded(summary)
    assert record.manifest["scenario"]["data"]["people"]["first"] == 80
    for path in run.rglob("*"):
        assert not path.is_file() or b"tok-secret-" not in path.read_bytes(), path
    subscribed = dict(zip(record.subscriptions["subscription"], record.subscriptions["channel"], strict=True))
    events = record.events
    return subscribed, dict(
        zip(zip(events["publisher"], events["sequence"], strict=True), events["channel"], strict=True)
    )


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("alone")
    ended = loadgen("run", str(folder / "mail.yaml"), "--results", str(results))
    assert "tok-secret" not in ended.said
    return only_run(results)


def test_rows_go_to_clients_and_requests(alone: Path) -> None:
    subscribed, published = played(alone)
    own = [channel for channel in subscribed.values() if channel.startswith("/default/users/")]
    assert sorted(own) == sorted(f"/default/users/user-{n}" for n in range(60))
    # Two clients publish the news, and their requests use the rows of data in turn.
    news = {key: channel for key, channel in published.items() if "/plans/" in channel}
    first, second = sorted({publisher for publisher, _ in news})
    assert [news[first, n].rpartition("/")[2] for n in range(4)] == ["t0", "t2", "t4", "t6"]
    assert [news[second, n].rpartition("/")[2] for n in range(4)] == ["t1", "t3", "t5", "t0"]
    summary = read(alone / "summary.json")
    assert summary["ledger"]["lost"] == 0
    assert summary["ledger"]["expected"] > 0
    # `loadgen verify` recomputes the figures from the samples.
    assert loadgen("verify", str(alone)).code == 0


def same(one: Path, other: Path) -> None:
    (subscribed, published), (subscribed_2, published_2) = played(one), played(other)
    assert subscribed == subscribed_2
    assert published == published_2
    assert len(published) > 100


def test_two_processes_play_the_same(alone: Path, folder: Path, tmp_path: Path) -> None:
    loadgen("run", str(folder / "mail.yaml"), "--results", str(tmp_path), "--processes", "2")
    same(alone, only_run(tmp_path))


def test_workers_without_the_files_play_the_same(alone: Path, folder: Path, tmp_path: Path) -> None:
    copy, port = tmp_path / "scenario", str(free_port())
    shutil.copytree(folder, copy)
    master = start(
        *("run", str(copy / "mail.yaml"), "--master", "--expect-workers", "2", "--master-port", port),
        *("--results", str(tmp_path / "runs")),
    )
    deadline_s = time.monotonic() + STUCK_S
    while not any(each.laddr.port == int(port) for each in psutil.net_connections() if each.laddr):
        assert master.poll() is None, Finished(master).said
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    # The master has read the files, and no worker can read them any more.
    shutil.rmtree(copy)
    workers = [start("run", "--worker", "--master-port", port) for _ in range(2)]
    ended = [Finished(process) for process in (master, *workers)]
    assert "tok-secret" not in "".join(each.said for each in ended)
    run = only_run(tmp_path / "runs")
    assert len(analysis.load(run).manifest["workers"]) == 2
    same(alone, run)
