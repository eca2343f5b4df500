"""Test whole runs from Python: the result, folders, Ctrl-C, an event loop, and the documented example."""

import asyncio
import gc
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadgen import subprocesses as children
from loadgen.exits import ExitCode, RunError
from loadgen.scenario import ScenarioError
from loadgen.scenario_run import ScenarioRun, run_scenario
from loadgen.testing import LoadRun, LocalEventApi, event_api, load_run  # noqa: F401
from tests.paths import REPO
from tests.system.harness import STUCK_S, demanded, only_run, read, wait_for_phase

SCENARIO = {
    "version": 1,
    "name": "from-python",
    "data": {"people": {"csv": "people.csv"}},
    "clients": {
        "users": {"count": 10, "ramp": "100/s", "subscribe": "/default/users/{people.id}"},
        "backend": {
            "count": 1,
            "publish": {"channel": "/default/users/{people.id}", "rate": "20/s", "payload": "200B"},
        },
    },
    "phases": {"warmup": "200ms", "measure": "1s", "drain": "1s"},
    "gates": ["delivery.loss == 0%"],
}
PEOPLE = [{"id": f"user-{number}"} for number in range(10)]


def agrees(run: ScenarioRun) -> None:
    """Assert that the object has the same values as the record."""
    summary = read(run.folder / "summary.json")
    assert run.summary == summary
    assert run.exit_code == demanded(summary) == summary["exit_code"]
    assert (run.verdict, run.ledger) == (summary["verdict"]["kind"], summary["ledger"])
    assert [gate.status for gate in run.gates] == [gate["status"] for gate in summary["gates"]]
    # The ledger covers the measure phase, the tables cover the whole run.
    assert len(run.deliveries) >= run.ledger["rows"] > 0
    assert len(run.subscriptions) == 10
    assert len(run.events) >= run.ledger["events_due"] > 0


def test_a_run_in_a_temporary_folder_that_goes_with_the_object() -> None:
    run = run_scenario(SCENARIO, files={"people.csv": PEOPLE}, overrides={"clients.backend.count": 2})
    agrees(run)
    assert run.record.manifest["scenario"]["clients"]["backend"]["count"] == 2
    assert run.report().read_text().startswith("<!")
    folder = run.folder
    assert folder.exists()
    del run
    gc.collect()
    assert not folder.exists()


def test_a_run_on_an_api_of_the_test_in_a_running_loop(
    event_api: LocalEventApi,  # noqa: F811
    load_run: LoadRun,  # noqa: F811
    tmp_path: Path,
) -> None:
    async def both() -> ScenarioRun:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        run = await asyncio.to_thread(load_run, SCENARIO, api=event_api, files={"people.csv": PEOPLE})
        ticking.cancel()
        assert ticks > 0
        return run

    run = asyncio.run(both())
    agrees(run)
    assert run.folder.is_relative_to(tmp_path)
    assert event_api.published
    assert event_api.api_key not in (run.folder / "manifest.json").read_text() + run.output


def test_ctrl_c_ends_the_run_and_keeps_its_record(tmp_path: Path) -> None:
    code = f"""
import loadgen
try:
    loadgen.run_scenario({SCENARIO!r}, files={{"people.csv": {PEOPLE!r}}}, overrides={{"phases.measure": "60s"}},
                         results={str(tmp_path / "runs")!r})
except KeyboardInterrupt as end:
    assert isinstance(end, loadgen.RunInterrupted)
    print(end.run.exit_code.value, end.run.folder, end.run.ledger["delivered"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], env=children.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        wait_for_phase(tmp_path / "runs", "measure")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=STUCK_S)
    exit_code, folder, _ = out.split()
    assert exit_code == "130"
    assert Path(folder) == only_run(tmp_path / "runs")
    assert read(Path(folder) / "manifest.json")["status"] == "interrupted"


def test_the_run_ends_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import loadgen
loadgen.run_scenario("comments", overrides={{"phases.measure": "600s", "clients.readers.count": 5}},
                     results={str(tmp_path / "runs")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], env=children.environment()) as process:
        wait_for_phase(tmp_path / "runs", "warmup")
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(family) >= 2
    _, left = psutil.wait_procs(family, timeout=STUCK_S)
    assert left == []


def test_the_example_passes_in_a_project_of_its_own(tmp_path: Path) -> None:
    shutil.copy(REPO / "docs" / "examples" / "test_load.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=tmp_path,
        env=children.environment(),
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.long
def test_it_works_in_a_notebook(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(
            "import loadgen\n"
            f"run = loadgen.run_scenario({SCENARIO!r}, files={{'people.csv': {PEOPLE!r}}}, echo=True)\n"
            "len(run.deliveries) >= run.ledger['rows'] > 0"
        )
    ]
    NotebookClient(book, timeout=STUCK_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = book.cells[0].outputs
    assert outputs[-1]["data"]["text/plain"] == "True"
    assert any("delivered" in each.get("text", "") for each in outputs)


def test_a_mistake_in_a_scenario_is_told_without_the_temporary_file() -> None:
    scenario = {"version": 1, "clients": {"readers": {"count": 0, "subscribe": "/default/a"}}}
    with pytest.raises(ScenarioError) as raised:
        run_scenario(scenario)
    assert "scenario: clients.readers.count" in str(raised.value)
    assert all("/" not in each.split(":")[0] for each in raised.value.problems)
    with pytest.raises(ScenarioError, match="there is no scenario 'no-such'"):
        run_scenario("no-such")


def test_an_unreachable_target_is_an_error_with_its_code() -> None:
    with pytest.raises(RunError) as raised:
        run_scenario("comments", target="http://127.0.0.1:9/event", api_key="da2-secret")
    assert raised.value.code is ExitCode.TARGET
    assert "127.0.0.1:9" in str(raised.value)
    assert "da2-secret" not in str(raised.value)


def test_nothing_of_the_callers_process_changes() -> None:
    code = """
import asyncio, os, signal, sys, threading
import loadgen
before = dict(os.environ), [signal.getsignal(n) for n in range(1, 32)], signal.pthread_sigmask(signal.SIG_BLOCK, [])

async def main():
    try:
        await asyncio.to_thread(loadgen.run_scenario, "no-such")
    except Exception as error:
        assert "no scenario" in str(error), error
    else:
        raise SystemExit("no error")
    try:
        loadgen.run_scenario("no-such")
    except Exception as error:
        assert "no scenario" in str(error), error

asyncio.run(main())
after = dict(os.environ), [signal.getsignal(n) for n in range(1, 32)], signal.pthread_sigmask(signal.SIG_BLOCK, [])
assert before == after
assert not {"gevent", "locust"} & sys.modules.keys(), "gevent"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
