"""Test runs whose workers store their rows in a folder or in S3 instead of sending them to the master.

S3 is moto's server. The workers have no folder in common with the master where network namespaces can be made.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.loading.run import load
from analysis.record.schemas import TABLES
from analysis.summary import summarise
from loadgen.exits import ExitCode
from loadgen.run.record import RunFolder
from loadgen.scenario_run import ScenarioRun
from tests.aws.conftest import CREDENTIALS
from tests.system.harness import (
    SMALL,
    Finished,
    command_lines,
    free_port,
    loadgen,
    only_run,
    overrides,
    read,
    start,
    wait_for_phase,
)
from tests.system.run.netns import network
from tests.system.run.test_distributed import process_of, shown
from tests.system.run.waiting import PATIENCE_S, ended_by_verdict, until

pytestmark = pytest.mark.long

KEY = {"STORED_KEY": "da2-" + "s" * 26}


@dataclass(frozen=True)
class Stored:
    """A finished run of two workers that stored their rows in the folder ``rows``."""

    folder: Path
    rows: Path
    summary: dict[str, Any]
    finished: Finished
    separate: bool

    @property
    def manifest(self) -> dict[str, Any]:
        return read(self.folder / "manifest.json")

    @property
    def pieces(self) -> Path:
        return self.rows / str(self.manifest["parts"]["run"])


def join(folder: Path) -> str:
    from loadgen.run.join import make, write

    path = folder / "run.join"
    write(path, make())
    return str(path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    tmp_path = tmp_path_factory.mktemp("stored")
    results, rows = tmp_path / "hidden" / "results", tmp_path / "rows"
    results.mkdir(parents=True)
    rows.mkdir()
    with network(tmp_path, 2, hidden=[tmp_path / "hidden"]) as net:
        shown(net)
        finished, _ = run_to(net, tmp_path, results, str(rows))
        separate = net.separate
    folder, summary = ended_by_verdict(finished, results)
    return Stored(folder, rows, summary, finished, separate)


def run_to(net: Any, tmp_path: Path, results: Path, uri: str) -> tuple[Finished, list[Finished]]:
    """Run a master on the hub and a worker on each of two nodes, to their end."""
    with started(net, tmp_path, results, uri, ()) as processes:
        master, *workers = [Finished(process, 120) for process in processes]
    for each in workers:
        assert each.code == 0, each.said + master.said
    return master, workers


@contextmanager
def started(
    net: Any, tmp_path: Path, results: Path, uri: str, settings: tuple[str, ...]
) -> Iterator[list[Any]]:
    """Start a target, a master and two workers; yield the master's process and the workers', and end all."""
    port, target, key = str(free_port()), str(free_port()), join(tmp_path)
    server = net.on_hub("serve", "--host", net.hub, "--port", target, "--api-key-env", "STORED_KEY", env=KEY)
    assert server.stdout is not None
    said = server.stdout.readline()
    assert "is ready" in said, said
    master = net.on_hub(
        *("run", "comments", "--master", "--expect-workers", "2", "--master-bind-host", net.hub),
        *("--master-port", port, "--join", key, "--results", str(results), "--spool-to", uri),
        *("--target", f"http://{net.hub}:{target}/event", "--api-key-env", "STORED_KEY", "--allow-remote"),
        *overrides((*SMALL, *settings)),
        env=KEY,
    )
    workers = [
        net.on_node(
            node,
            *("run", "--worker", "--master-host", net.hub, "--master-port", port, "--join", key),
            *("--allow-env", "STORED_KEY", "--spool-to", uri),
            env=KEY,
        )
        for node in range(2)
    ]
    try:
        yield [master, *workers]
    finally:
        for process in (master, *workers, server):
            if process.poll() is None:
                process.terminate()
        Finished(server, 30)


def test_the_rows_are_in_the_folder_and_nowhere_else(stored: Stored) -> None:
    manifest = stored.manifest
    assert manifest["parts"]["uri"] == stored.rows.as_uri()
    assert manifest["parts"]["away"]
    assert not [path.name for path in stored.folder.iterdir() if path.stem in TABLES]
    for entry in manifest["workers"]:
        assert entry["gathered_by"] == "storage"
        assert entry["unstored"] is None
        assert {name: each["rows"] for name, each in entry["stored"].items()} == {
            f"{table}-{entry['worker']:04d}.arrows": rows for table, rows in entry["rows"].items()
        }
    assert {each["worker"] for each in manifest["parts"]["streams"]} == {0, 1}
    assert stored.summary["ledger"]["balances"]
    assert stored.summary["ledger"]["expected"] > 500
    assert f"loadgen fetch {stored.folder} --parts-from {stored.rows.as_uri()}" in stored.finished.err


def test_the_figures_are_those_of_the_same_rows_sent_to_the_master(stored: Stored, tmp_path: Path) -> None:
    """The spool that the master would have got is the pieces one after another."""
    sent = tmp_path / stored.folder.name
    (sent / "spool").mkdir(parents=True)
    for worker in sorted(stored.pieces.glob("worker-*")):
        for piece in sorted(worker.iterdir()):
            with (sent / "spool" / piece.name.rsplit(".", 1)[0]).open("ab") as file:
                file.write(piece.read_bytes())
    manifest = stored.manifest | {"parts": None, "negative": {}, "beyond": {}}
    (sent / "manifest.json").write_text(json.dumps(manifest))
    RunFolder.open(sent).complete()

    away, here = load(stored.folder, [str(stored.rows)]), load(sent)
    for table in TABLES:
        there = pq.read_table(away.tables_path / f"{table}.parquet")
        assert there.equals(pq.read_table(sent / f"{table}.parquet")), table
    assert pq.read_metadata(sent / "deliveries.parquet").num_rows > 500
    assert (sent / "histograms.hlog").read_text() == (stored.folder / "histograms.hlog").read_text()
    assert summarise(away) == summarise(here) == stored.summary


def test_the_place_must_be_named_again_to_read_from_it(stored: Stored, tmp_path: Path) -> None:
    copy = shutil.copytree(stored.folder, tmp_path / "copy")
    done = loadgen("report", str(copy))
    assert done.code == 2, done.said
    assert f"name the place: `--parts-from {stored.rows.as_uri()}`" in done.err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = loadgen("report", str(copy), "--parts-from", str(elsewhere))
    assert done.code == 2, done.said
    assert f"there is no {stored.pieces.name}/run.json, so its rows in {elsewhere.as_uri()}" in done.err
    done = loadgen("verify", str(copy), "--parts-from", str(stored.rows))
    assert done.code == 0, done.said
    assert "all agree" in done.out


def test_fetched_rows_make_a_record_that_needs_no_storage(stored: Stored, tmp_path: Path) -> None:
    copy = shutil.copytree(stored.folder, tmp_path / "copy")
    done = loadgen("fetch", str(copy), env={"LOADGEN_PARTS_FROM": stored.rows.as_uri()})
    assert done.code == 0, done.said
    assert not read(copy / "manifest.json")["parts"]["away"]
    assert summarise(load(copy)) == stored.summary
    done = loadgen("verify", str(copy))
    assert done.code == 0, done.said


def test_a_run_from_python_reads_its_rows_and_makes_its_report(stored: Stored) -> None:
    run = ScenarioRun(stored.folder, ExitCode.PASSED, "", None, [str(stored.rows)])
    assert len(run.deliveries) > 500
    assert run.report().exists()


def test_an_altered_piece_is_named(stored: Stored, tmp_path: Path) -> None:
    copy, rows = (
        shutil.copytree(stored.folder, tmp_path / "copy"),
        shutil.copytree(stored.rows, tmp_path / "rows"),
    )
    piece = next(rows.glob("*/worker-0001/deliveries-0001.arrows.000000-*"))
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 1
    piece.write_bytes(content)
    done = loadgen("verify", str(copy), "--parts-from", str(rows))
    assert done.code == 2, done.said
    assert "piece 0 of worker-0001/deliveries-0001.arrows is not whole, or was altered" in done.err
    done = loadgen("fetch", str(copy), "--parts-from", str(rows))
    assert done.code == 2, done.said
    assert not list(copy.glob("deliveries.parquet*"))


@pytest.mark.timeout(300)
def test_a_killed_worker_and_a_storage_that_fails_lose_nothing_that_was_stored(tmp_path: Path) -> None:
    results, rows = tmp_path / "hidden" / "results", tmp_path / "rows"
    results.mkdir(parents=True)
    rows.mkdir()
    with network(tmp_path, 2, hidden=[tmp_path / "hidden"]) as net:
        shown(net)
        settings = ("phases.measure=25s", "clients.commenters.publish.rate=20/s")
        with started(net, tmp_path, results, str(rows), settings) as (master, first, second):
            folder = wait_for_phase(results, "measure", PATIENCE_S, master)
            until(
                lambda: all(list(rows.glob(f"*/worker-000{n}/deliveries-*.000000-*")) for n in (0, 1)),
                "both workers store rows while the run goes on",
            )
            victim = process_of(first).pid
            os.kill(victim, signal.SIGKILL)
            # From now on the place is a file, in which no folder can be made.
            rows.rename(tmp_path / "away")
            rows.write_text("")
            done, survivor, _ = Finished(master, 200), Finished(second, 60), Finished(first, 60)
    assert survivor.code == 0, survivor.said
    assert "cannot be stored in" in survivor.err
    assert "could not be stored in" in done.err
    # The killed worker's rows cannot be read now, so the record is not complete.
    assert done.code == 3, done.said
    assert f"`loadgen report {folder} --parts-from {rows.as_uri()}`" in done.err
    assert (folder / "spool").exists()
    done = loadgen("report", str(folder), "--parts-from", str(tmp_path / "nowhere"))
    assert done.code == 3, done.said
    assert "cannot be read" in done.err

    rows.unlink()
    (tmp_path / "away").rename(rows)
    done = loadgen("report", str(folder), "--parts-from", str(rows))
    assert done.code == 0, done.said
    manifest, summary = read(folder / "manifest.json"), read(folder / "summary.json")
    killed = next(entry for entry in manifest["workers"] if entry["pid"] == victim)
    other = next(entry for entry in manifest["workers"] if entry["pid"] != victim)
    assert not killed["finished"]
    assert f"pid {victim}" in manifest["reason"]
    assert summary["verdict"]["kind"] == "invalid"
    assert summary["ledger"]["balances"]
    streams = {(each["worker"], each["table"]): each for each in manifest["parts"]["streams"]}
    if net.separate:
        # What the killed worker had stored is named with its checksum and read.
        assert streams[killed["worker"], "deliveries"]["rows"] > 0
        assert other["gathered_by"] == "messages"
        assert "Not a directory" in other["unstored"]
    found = load(folder)
    deliveries = pq.read_table(folder / "deliveries.parquet")["worker"].to_pylist()
    assert deliveries.count(killed["worker"]) > 0
    assert deliveries.count(other["worker"]) == other["rows"]["deliveries"]
    # Not all rows are in the storage, so the record keeps its tables.
    assert found.tables_path == folder
    assert not manifest["parts"]["away"]


@pytest.fixture
def s3() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_rows_go_to_s3_with_the_credentials_of_the_environment_alone(tmp_path: Path, s3: Any) -> None:
    import boto3

    endpoint = "http://{}:{}".format(*s3.get_host_and_port())
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYtesting"
    env = {
        **CREDENTIALS,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="eu-west-1",
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    client.create_bucket(Bucket="rows", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    results, port = tmp_path / "results", str(free_port())
    uri = "s3://rows/load/tests"
    key = join(tmp_path)
    common = ("--master-port", port, "--join", key)
    refused = loadgen(
        *("run", "comments", "--results", str(results), "--spool-to", "s3://no-such-bucket/x"),
        *overrides(SMALL),
        env=env,
    )
    assert refused.code == 3, refused.said
    assert "--spool-to: s3://no-such-bucket/x cannot be written: " in refused.err
    assert "does not exist" in refused.err
    assert not list(results.glob("2*"))
    with command_lines() as listed:
        master = start(
            *("run", "comments", "--master", "--expect-workers", "2", "--results", str(results), *common),
            *("--spool-to", uri),
            *overrides(SMALL),
            env=env,
        )
        # A worker that does not permit the place itself ends the run before it begins, so give both the option.
        workers = [start("run", "--worker", *common, "--spool-to", uri, env=env) for _ in range(2)]
        done = Finished(master, 200)
    assert any("--worker" in line for line in listed)
    assert not [line for line in listed if secret in line]
    for worker in workers:
        left = Finished(worker, 60)
        assert left.code == 0, left.said + done.said
        assert secret not in left.said
    folder, summary = ended_by_verdict(done, results)
    assert secret not in done.said
    for path in folder.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    manifest = read(folder / "manifest.json")
    run = manifest["parts"]["run"]
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="rows")["Contents"]]
    assert {key.rsplit("/", 1)[0] for key in keys} == {
        f"load/tests/{run}",
        f"load/tests/{run}/worker-0000",
        f"load/tests/{run}/worker-0001",
    }
    verified = loadgen("verify", str(folder), "--parts-from", uri, env=env)
    assert verified.code == 0, verified.said
    assert "all agree" in verified.out
    assert summary["ledger"]["balances"]

    s3.stop()
    done = loadgen("report", str(folder), "--parts-from", uri, env=env)
    assert done.code == 2, done.said
    assert f"its rows in {uri}/{run} cannot be read" in done.err
    assert secret not in done.said


def test_a_worker_stores_nothing_that_its_own_command_line_does_not_permit(tmp_path: Path) -> None:
    results, rows, key = tmp_path / "results", tmp_path / "rows", join(tmp_path)
    rows.mkdir()
    common = ("--master-port", str(free_port()), "--join", key)
    master = start(
        *("run", "comments", "--master", "--results", str(results), *common, "--spool-to", str(rows)),
        *overrides(SMALL),
    )
    worker = start("run", "--worker", *common)
    done, _ = Finished(master, 120), Finished(worker, 60)
    assert done.code == 2, done.said
    assert f"allow it with --spool-to {rows.as_uri()}" in done.err
    assert not list(rows.glob("*/worker-*"))
    assert only_run(results).exists()
