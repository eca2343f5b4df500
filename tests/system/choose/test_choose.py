"""Test `loadgen choose` with one scenario on several services, which stand-ins on this machine replace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.paths import REPO
from tests.system.harness import SMALL, STUCK_S, Finished, loadgen, overrides

#: Each reader subscribes to a single comment thread instead of a wildcard, because GraphQL has none.
ONE_THREAD = 'clients.readers.subscribe="/default/comments/{article}/{thread}"'
FEW = (*SMALL, ONE_THREAD, "phases.measure=1s")


def _start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "loadgen", "choose", *arguments],
        cwd=REPO,
        env={**os.environ, "CHOOSE_TEST_SECRET": "not-to-be-seen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _by_label(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {service["label"]: service for service in found["services"]}


def test_one_scenario_on_four_services(tmp_path: Path) -> None:
    folder = tmp_path / "choice"
    wanted = ("appsync-events", "appsync-graphql", "broker=mqtt?qos=0", "gone=mqtt://127.0.0.1:1")
    services = [part for service in wanted for part in ("--service", service)]
    done = Finished(
        _start(
            "comments", *overrides(FEW), *services, "--json", "--hours-per-day", "8", "--output", str(folder)
        )
    )
    found = _by_label(json.loads(done.out))
    assert list(found) == ["appsync-events", "appsync-graphql", "broker", "gone"]
    # Nothing listens at port 1. The runs on the other services are kept, and the exit code says that one is
    # missing.
    assert done.code == 3, done.said
    assert found["gone"]["runs"] == [] or found["gone"]["runs"][0]["verdict"] == "invalid"
    for label in ("appsync-events", "appsync-graphql", "broker"):
        (run,) = found[label]["runs"]
        assert run["balances"] is True, label
        assert run["kernel_stamps"] == 1.0, label
        assert run["figures"]["delivery.lost"]["value"] == 0, label
        assert found[label]["stands_for"] is not None
        verified = loadgen("verify", run["folder"])
        assert verified.code == 0, verified.said
    # At QoS 0 a broker does not tell whether it has accepted an event.
    assert found["broker"]["runs"][0]["figures"]["publish.errors"]["value"] is None
    events, graphql = (
        found[label]["costs"][0]["month"]["usd"] for label in ("appsync-events", "appsync-graphql")
    )
    assert 0 < events["min"] < graphql["min"]
    page = (folder / "choice.html").read_text()
    assert "our embedded server on this machine: not AWS" in page
    assert "<svg" in page
    assert (folder / "choice.md").read_text().startswith("# comments on 4 services")
    # The comparison can be shown again from the record alone.
    again = Finished(_start(str(folder), "--json"))
    assert json.loads(again.out) == json.loads(done.out)


def test_a_scenario_that_no_service_can_run_is_refused_with_its_reasons(tmp_path: Path) -> None:
    folder = tmp_path / "choice"
    done = Finished(_start("comments", "--service", "appsync-graphql", "--output", str(folder)))
    assert done.code == 2, done.said
    assert "has no wildcards" in done.err
    assert "Traceback" not in done.err


def test_an_interrupt_keeps_what_was_made(tmp_path: Path) -> None:
    folder = tmp_path / "choice"
    services = ("--service", "appsync-events", "--service", "mqtt")
    process = _start("comments", *overrides((*FEW, "phases.measure=60s")), *services, "--output", str(folder))
    deadline = time.monotonic() + STUCK_S
    while time.monotonic() < deadline and process.poll() is None:
        manifests = list(folder.glob("appsync-events/*/manifest.json"))
        if manifests and any(
            each["name"] == "measure" for each in json.loads(manifests[0].read_text())["phases"]
        ):
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    done = Finished(process)
    assert done.code == 130, done.said
    choice = json.loads((folder / "choice.json").read_text())
    assert [len(service["runs"]) for service in choice["services"]] == [1, 0]
    assert (folder / "appsync-events" / "1" / "summary.json").is_file()
    assert (folder / "choice.html").is_file()
