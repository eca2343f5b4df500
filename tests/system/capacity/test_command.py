"""`loadgen capacity` with real runs: found, killed and continued, and told what is wrong with a request."""

import dataclasses
import inspect
import json
import os
import signal
import time
from pathlib import Path

import pytest

from loadgen.capacity.conduct import Request
from loadgen.cli import capacity
from tests.system.harness import STUCK_S, Finished, loadgen, read, start

SCENARIO = """version: 1
clients:
  readers: {count: 5, ramp: 250/s, subscribe: /default/known}
  writers: {count: 1, publish: {channel: /default/known, rate: 20/s}}
phases: {ready: probe, warmup: 200ms, measure: 1s, drain: 300ms}
"""


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_text(SCENARIO)
    # 50 events/s, five deliveries each, are all that the server takes: even the lowest load is too much.
    (tmp_path / "faults.yaml").write_text(json.dumps({"throttle": "250/s", "throttle_queue": 10}))
    process = start(
        *(
            "capacity",
            str(tmp_path / "known.yaml"),
            "--slo",
            "delivery.loss < 2%",
            "--from",
            "60",
            "--to",
            "90",
        ),
        *("--faults", str(tmp_path / "faults.yaml"), "--results", str(tmp_path)),
    )
    deadline = time.monotonic() + STUCK_S
    while time.monotonic() < deadline:
        records = list(tmp_path.glob("capacity-*/capacity.json"))
        if records and read(records[0])["trials"]:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    Finished(process)
    (record,) = tmp_path.glob("capacity-*/capacity.json")
    before = read(record)
    # One, or more if the machine was slow to send the signal.
    known = len(before["trials"])
    assert known >= 1
    assert before["status"] == "running"

    done = loadgen("capacity", "--resume", str(record.parent))
    after = read(record)
    assert after["trials"][:known] == before["trials"]
    assert len(after["trials"]) > known
    assert after["status"] == "complete", done.said
    limit = after["limits"][0]
    # On a machine so busy that runs are degraded nothing is known, and the exit code says so.
    assert (done.code, limit["kind"]) in ((1, "below"), (3, "undecided"), (3, "generator")), done.said
    if limit["kind"] == "below":
        assert (limit["lower"], limit["upper"], limit["upper_votes"]) == (None, 60, [0, 2])
        assert "below the lowest load: less than 60 events/s (failed 2 of 2 full-length trials)" in done.out
        # 300 are offered and 250 taken.
        assert all(row["goodput_per_s"] < 260 < row["offered_deliveries_per_s"] for row in after["trials"])
    for row in after["trials"]:
        assert list((record.parent / row["folder"]).glob("*/summary.json"))
        assert f"clients.writers.publish.rate={row['load']:g}/s" in row["command"]
    assert (record.parent / "knee.png").stat().st_size > 1_000
    page = (record.parent / "capacity.html").read_text()
    assert "delivery.loss &lt; 2%" in page
    assert "distinct loads are too few" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("comments",), "give a scenario and a goal"),
        (("comments", "--slo", "delivery.latency < 1ms"), "--slo: delivery.latency is many values"),
        (
            ("comments", "--slo", "delivery.lost == 0", "--from", "9", "--to", "3"),
            "--from 9 is not below --to 3",
        ),
        (("comments", "--slo", "delivery.lost == 0", "--precision", "5"), "such as 5%"),
        (("comments", "--slo", "delivery.lost == 0", "--budget", "5"), "without a unit"),
        (("comments", "--slo", "delivery.lost == 0", "--axis", "channels"), "needs --variable NAME"),
        (("--resume", "/nonexistent"), "has no capacity.json"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    done = loadgen("capacity", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_search_that_is_continued_takes_no_permission_from_its_folder() -> None:
    """The folder may be somebody else's."""
    kept = ("--target", "http://h/event", "--auth", "iam")
    permissions = (
        "--allow-remote",
        "--yes",
        "--allow-env",
        "SOME_NAME",
        "--allow-file",
        "/",
        "--allow-commands",
    )
    assert capacity._resumed((*permissions, *kept, *permissions)) == kept
    for other in (("--journal", "/x"), ("--web",), ("--target",), ("--results", "/x")):
        with pytest.raises((KeyError, StopIteration)):
            capacity._resumed(other)


def test_each_option_of_a_search_is_kept_or_asked_for_again() -> None:
    said = {"--target": "http://127.0.0.1:9/event", "--auth": "iam", "--profile": "p", "--region": "r"}
    said |= {"--api-key-env": "NAME", "--faults": "f.yaml", "--processes": "2"}
    words = [part for pair in said.items() for part in pair]
    assert capacity._resumed(tuple(words)) == tuple(words)
    options = {
        name
        for parameter in inspect.signature(capacity.capacity).parameters.values()
        for metadata in getattr(parameter.annotation, "__metadata__", ())
        for name in (metadata.param_decls or (f"--{parameter.name.replace('_', '-')}",))
        if name.startswith("--")
    }
    assert {name for name in options if name.startswith("--allow")} <= capacity._PERMISSIONS
    assert options >= capacity._PERMISSIONS | capacity._KEPT


@pytest.mark.parametrize(
    "flags", [(), ("--allow-remote",), ("--allow-remote", "--yes"), ("--allow-env", "A")]
)
def test_the_target_of_a_search_is_found_among_its_flags(flags: tuple[str, ...]) -> None:
    plain = dict.fromkeys((field.name for field in dataclasses.fields(Request)), None)
    for options in ((*flags, "--target", "u"), ("--target", "u", *flags)):
        assert Request(**{**plain, "options": options}).target == "u"  # type: ignore[arg-type]
    assert Request(**{**plain, "options": flags}).target is None  # type: ignore[arg-type]
