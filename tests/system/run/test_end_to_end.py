"""The whole program, in processes of its own, on real sockets."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import trustme

import analysis
from loadgen.measure.spool import SCHEMAS
from loadgen.server.process import ServerProcess
from tests.paths import REPO
from tests.system.harness import (
    SMALL,
    Finished,
    free_port,
    loadgen,
    may_unshare,
    only_run,
    overrides,
    read,
    start,
    wait_for_phase,
)

KEY = "da2-abcdefghijklmnopqrstuvwxyz"


def test_comments_delivers_everything_that_is_expected_and_leaves_a_whole_record(tmp_path: Path) -> None:
    finished = loadgen("run", "comments", "--report", "--results", str(tmp_path), *overrides(SMALL))
    assert finished.code == 0, finished.said
    run = only_run(tmp_path)
    assert finished.out.rstrip().splitlines()[-1].endswith(f"{run.name}/report.html")
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    assert (manifest["format"], manifest["status"], manifest["exit_code"]) == (3, "complete", 0)
    assert [phase["name"] for phase in manifest["phases"]] == ["ramp", "ready", "warmup", "measure", "drain"]
    assert all(phase["end_ns"] >= phase["start_ns"] for phase in manifest["phases"])
    for table, schema in SCHEMAS.items():
        if table != "histograms":
            assert pq.read_schema(run / f"{table}.parquet").equals(schema), table
    assert not (run / "spool").exists()
    ledger = summary["ledger"]
    assert ledger["expected"] > 100
    assert ledger["delivered"] == ledger["expected"]
    assert (ledger["lost"], ledger["duplicates"], ledger["delivery_ratio"]) == (0, 0, 1.0)
    events = pd.read_parquet(run / "events.parquet")
    assert set(events["status"]) == {"accepted"}
    # 50 events a second for half a second of warm-up and two of measurement.
    assert len(events) == 125
    assert (events["sent_ns"] >= events["intended_ns"]).all()


def test_the_histograms_hold_as_many_values_as_the_tables(tmp_path: Path) -> None:
    from hdrh.histogram import HdrHistogram

    finished = loadgen("run", "cursors", "--results", str(tmp_path), *overrides(CURSORS))
    assert finished.code == 0, finished.said
    run = only_run(tmp_path)
    counts: dict[str, int] = {}
    for line in (run / "histograms.hlog").read_text().splitlines():
        if line.startswith("Tag="):
            tag, _, _, _, encoded = line.removeprefix("Tag=").split(",")
            counts[tag] = counts.get(tag, 0) + HdrHistogram.decode(encoded).get_total_count()
    rows = pq.read_metadata(run / "deliveries.parquet").num_rows
    answered = pd.read_parquet(run / "events.parquet")["acked_ns"].notna().sum()
    assert counts == {"delivery": rows, "service": rows, "queue": rows, "publish": answered}
    assert read(run / "summary.json")["ledger"]["delivery_ratio"] == 1.0


CURSORS = (
    "gates=[]",
    "clients.editors.count=10",
    "variables.room.count=2",
    "clients.editors.ramp=100/s",
    "phases.warmup=500ms",
    "phases.measure=2s",
    "phases.drain=500ms",
)


def test_one_process_two_processes_and_a_master_with_two_workers_expect_and_receive_the_same(
    tmp_path: Path,
) -> None:
    ledgers = []
    for name, arguments in (("one", []), ("two", ["--processes", "2"])):
        finished = loadgen(
            "run", "comments", "--results", str(tmp_path / name), *arguments, *overrides(SMALL)
        )
        assert finished.code == 0, finished.said
        ledgers.append(read(only_run(tmp_path / name) / "summary.json")["ledger"])
    port = str(free_port())
    workers = [start("run", "comments", "--worker", "--master-port", port) for _ in range(2)]
    finished = loadgen(
        "run",
        "comments",
        *("--master", "--expect-workers", "2", "--master-port", port),
        *("--results", str(tmp_path / "distributed")),
        *overrides(SMALL),
    )
    assert finished.code == 0, finished.said
    assert [Finished(worker, 30).code for worker in workers] == [0, 0]
    run = only_run(tmp_path / "distributed")
    ledgers.append(read(run / "summary.json")["ledger"])
    assert ledgers[0]["expected"] > 100
    assert len({ledger["expected"] for ledger in ledgers}) == 1
    assert all(ledger["delivered"] == ledger["expected"] for ledger in ledgers)
    assert len({worker["pid"] for worker in read(run / "manifest.json")["workers"]}) == 2


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a mount namespace (unshare -m)")
def test_a_worker_that_cannot_see_the_masters_folder_sends_its_record(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    port = str(free_port())
    # In its own mount namespace the worker sees an empty folder where the master sees the run.
    hidden = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {results} && exec "$@"', "sh"]
    worker = start("run", "comments", "--worker", "--master-port", port, prefix=hidden)
    finished = loadgen(
        "run", "comments", "--master", "--master-port", port, "--results", str(results), *overrides(SMALL)
    )
    assert finished.code == 0, finished.said
    assert Finished(worker, 30).code == 0
    ledger = read(only_run(results) / "summary.json")["ledger"]
    assert ledger["expected"] == ledger["delivered"] > 100


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_in_the_measure_phase_keeps_and_reports_what_was_recorded(
    tmp_path: Path, processes: str
) -> None:
    process = start(
        *("run", "comments", "--report", "--results", str(tmp_path), "--processes", processes),
        *overrides([*SMALL, "phases.measure=60s"]),
    )
    run = wait_for_phase(tmp_path, "measure")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    finished = Finished(process, 60)
    assert finished.code == 130, finished.said
    assert "Traceback" not in finished.said
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    assert (manifest["status"], manifest["reason"]) == ("interrupted", "interrupted in phase measure")
    assert summary["partial"] is True
    assert summary["ledger"]["delivered"] == summary["ledger"]["expected"] > 0
    assert "partial" in (run / "report.html").read_text().lower()
    assert len(analysis.load(run).deliveries) > 0


# What cannot work: one clear sentence, the documented exit code, no traceback.


def refused(code: int, sentence: str, *arguments: str, **kwargs: object) -> None:
    finished = loadgen(*arguments, **kwargs)  # type: ignore[arg-type]
    assert finished.code == code, finished.said
    assert "Traceback" not in finished.said
    said = [line for line in finished.err.splitlines() if line]
    assert len(said) == 1, finished.said
    assert sentence in said[0]


def test_a_target_that_is_down(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/event"
    arguments = ["run", "comments", "--target", url, "--api-key-env", "K", "--results", str(tmp_path)]
    refused(4, "Connection refused; check the URL", *arguments, env={"K": KEY})


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(tmp_path: Path) -> None:
    with ServerProcess() as server:
        url = server.announcement.http_url
        arguments = ["run", "comments", "--target", url, "--api-key-env", "K", "--results", str(tmp_path)]
        finished = loadgen(*arguments, env={"K": KEY})
        assert finished.code == 4, finished.said
        assert "UnauthorizedException" in finished.err
        assert "check the api-key from $K" in finished.err
        assert KEY not in finished.said


def test_a_key_stands_in_no_file_and_no_command_line(tmp_path: Path) -> None:
    with ServerProcess(api_key=KEY) as server:
        process = start(
            *("run", "comments", "--target", server.announcement.http_url, "--api-key-env", "K"),
            *("--results", str(tmp_path), "--processes", "2"),
            *overrides(SMALL),
            env={"K": KEY},
        )
        wait_for_phase(tmp_path, "measure")
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        finished = Finished(process, 60)
    assert finished.code == 0, finished.said
    assert KEY not in listing
    assert KEY not in finished.said
    files = [path for path in only_run(tmp_path).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_key_variable_that_is_not_set(tmp_path: Path) -> None:
    arguments = ["run", "comments", "--target", "http://127.0.0.1:1/event", "--api-key-env", "NOBODY_SET_ME"]
    refused(2, "environment variable NOBODY_SET_ME is not set", *arguments, "--results", str(tmp_path))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        refused(2, "is taken by another program", "serve", "--port", str(holder.getsockname()[1]))


def test_a_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    refused(
        2,
        f"the results folder {in_the_way} cannot be written",
        "run",
        "comments",
        "--results",
        str(in_the_way),
    )


@pytest.mark.parametrize("processes", ["1", "2"])
def test_more_connections_than_open_files_allowed(tmp_path: Path, processes: str) -> None:
    limited = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]
    arguments = ["run", "comments", "--set", "clients.readers.count=5000", "--processes", processes]
    refused(3, "only 1,024 are allowed", *arguments, "--results", str(tmp_path), prefix=limited)


def test_a_misspelt_scenario() -> None:
    refused(2, "did you mean 'comments'?", "run", "coments")


def test_a_mistake_in_a_scenario_is_told_with_file_and_line(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.yaml"
    text = (REPO / "scenarios" / "comments.yaml").read_text()
    lines = text.replace("measure: 20s", "measure: 20").splitlines()
    scenario.write_text("\n".join(lines))
    number = next(number for number, line in enumerate(lines, 1) if "measure: 20" in line)
    refused(2, f"mine.yaml:{number}: phases.measure is 20 without a unit", "run", str(scenario))


# Plain Locust.


def locust(*arguments: str, cwd: Path) -> Finished:
    repo = REPO
    return Finished(
        subprocess.Popen(
            [sys.executable, "-m", "locust", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(repo)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ),
        90,
    )


def test_plain_locust_runs_a_locustfile_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN_LOCUSTFILE)
    settings: Sequence[str] = overrides(SMALL)
    finished = locust(
        *("-f", "mine.py", "--headless", "--scenario", "comments", "--results", str(tmp_path / "results")),
        *settings,
        cwd=tmp_path,
    )
    assert finished.code == 0, finished.said
    # Deliveries stand in Locust's own statistics.
    assert "DELIVER" in finished.said
    seen = int((tmp_path / "seen").read_text())
    run = only_run(tmp_path / "results")
    assert seen == pq.read_metadata(run / "deliveries.parquet").num_rows > 100


OWN_LOCUSTFILE = """
import json
import pathlib

from locust import events

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

install()
seen = 0


class Reader(Subscriber):
    def on_delivery(self, channel, event):
        global seen
        assert channel.startswith("/default/comments/"), channel
        assert json.loads(event)["text"] == "first!"
        seen += 1


class Commenter(Publisher):
    def payload(self):
        return {"text": "first!"}


@events.quitting.add_listener
def _(environment, **_):
    pathlib.Path("seen").write_text(str(seen))
"""


def test_the_main_job_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = ["--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem")]
    with ServerProcess(options, api_key=KEY) as server:
        finished = loadgen(
            *("run", "comments", "--target", server.announcement.http_url, "--api-key-env", "K"),
            *("--results", str(tmp_path / "results")),
            *overrides(SMALL),
            env={"K": KEY, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
        )
    assert finished.code == 0, finished.said
    run = only_run(tmp_path / "results")
    assert read(run / "summary.json")["ledger"]["delivery_ratio"] == 1.0
    connections = pd.read_parquet(run / "connections.parquet")
    assert connections["tls"].all()
    assert connections["kernel_timestamps"].all() == sys.platform.startswith("linux")


@pytest.mark.parametrize(
    ("allowed", "env", "says"),
    [
        (
            ("--allow-env", "ONLY_THE_MASTER_HAS_IT"),
            {},
            "the environment variable ONLY_THE_MASTER_HAS_IT is not set",
        ),
        (
            (),
            {"ONLY_THE_MASTER_HAS_IT": KEY},
            "the master names the environment variable ONLY_THE_MASTER_HAS_IT, whose value would go to",
        ),
    ],
)
def test_a_worker_without_the_key_fails_the_run_at_once_with_its_own_sentence(
    tmp_path: Path, allowed: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    port = str(free_port())
    with ServerProcess(api_key=KEY) as server:
        worker = start("run", "comments", "--worker", "--master-port", port, *allowed, env=env)
        finished = loadgen(
            *("run", "comments", "--master", "--master-port", port, "--results", str(tmp_path)),
            *("--target", server.announcement.http_url, "--api-key-env", "ONLY_THE_MASTER_HAS_IT"),
            *overrides(SMALL),
            env={"ONLY_THE_MASTER_HAS_IT": KEY},
            timeout_s=45,
        )
    assert finished.code == 2, finished.said
    assert says in finished.err
    assert "Traceback" not in finished.said
    Finished(worker, 30)
