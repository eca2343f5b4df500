"""Whatever ends a process of a run: never green, never a traceback, nobody left, a folder that can be read."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import analysis
from tests.paths import REPO
from tests.system.harness import Finished, loadgen, may_unshare, only_run, overrides, read, start

#: Its gate fails whatever the service does.
FAILING = (
    'gates=["delivery.latency.p99 < 1us"]',
    "clients.readers.count=20",
    "clients.readers.ramp=40/s",
    "clients.commenters.count=2",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=500ms",
    "phases.measure=1s",
    "phases.drain=500ms",
)
PHASES = ("starting", "ramp", "ready", "warmup", "measure", "drain", "finishing")
PROCESSES = ("parent", "master", "worker", "server", "analysis")
ORDERLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def parts(parent: psutil.Process) -> dict[str, psutil.Process]:
    """Return the processes of a run by what they are."""
    found = {"parent": parent}
    for process in parent.children(recursive=True):
        try:
            arguments = process.cmdline()
            above = process.ppid()
        except psutil.Error:
            continue
        if "loadgen.server" in arguments:
            found["server"] = process
        elif "analysis" in arguments:
            found["analysis"] = process
        elif above == parent.pid:
            found["master"] = process
        else:
            found["worker"] = process
    return found


def in_phase(results: Path, parent: psutil.Process, phase: str) -> bool:
    if phase == "starting":
        # Until a program has told Python which signals it answers, Python itself answers them, with a traceback.
        (caught,) = [
            line.split()[1]
            for line in Path(f"/proc/{parent.pid}/status").read_text().splitlines()
            if line.startswith("SigCgt:")
        ]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    if phase == "finishing" and "analysis" in parts(parent):
        return True
    for manifest in results.glob("*/manifest.json"):
        return phase in {entry["name"] for entry in read(manifest)["phases"]}
    return False


@settings(
    max_examples=int(os.environ.get("LOADGEN_ENDINGS", "4")),
    # The same few each time, unless more are asked for.
    derandomize="LOADGEN_ENDINGS" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    who=st.sampled_from(PROCESSES),
    number=st.sampled_from((*ORDERLY, signal.SIGKILL)),
    phase=st.sampled_from(PHASES),
    after_s=st.floats(0, 0.8),
    workers=st.integers(1, 2),
)
@example(who="analysis", number=signal.SIGKILL, phase="finishing", after_s=0.1, workers=1)
@example(who="parent", number=signal.SIGINT, phase="measure", after_s=0.3, workers=2)
@example(who="parent", number=signal.SIGKILL, phase="measure", after_s=0.3, workers=2)
@example(who="worker", number=signal.SIGTERM, phase="measure", after_s=0.3, workers=2)
@example(who="server", number=signal.SIGKILL, phase="measure", after_s=0.3, workers=1)
@example(who="master", number=signal.SIGHUP, phase="finishing", after_s=0.0, workers=1)
@example(who="parent", number=signal.SIGTERM, phase="ramp", after_s=0.2, workers=1)
@pytest.mark.timeout(1800)
def test_whoever_is_ended_however_and_whenever_it_is_never_green(
    who: str, number: signal.Signals, phase: str, after_s: float, workers: int
) -> None:
    with TemporaryDirectory() as folder:
        results = Path(folder)
        process = start(
            "run", "comments", "--results", folder, "--processes", str(workers), *overrides(FAILING)
        )
        parent, family, hit = psutil.Process(process.pid), {}, False
        while process.poll() is None and not in_phase(results, parent, phase):
            time.sleep(0.02)
        time.sleep(after_s)
        if process.poll() is None:
            family = parts(parent)
            family["all"] = parent
            everybody = [parent, *parent.children(recursive=True)]
            if who in family:
                family[who].send_signal(number)
                hit = True
        else:
            everybody = []
        finished = Finished(process, 120)
        said = f"{who} {number!r} in {phase} + {after_s}: {finished.said}"
        assert finished.code != 0, said
        assert "Traceback" not in finished.said, said
        # A second is the promise; this machine may be busy.
        _, alive = psutil.wait_procs(everybody, timeout=10)
        assert not alive, (said, alive)
        if hit and (who, number) == ("parent", signal.SIGKILL):
            assert finished.code == -signal.SIGKILL, said
        elif hit and number in ORDERLY:
            # In its last moments a run may have ended before it heard.
            assert finished.code in (130, 1) if phase in ("drain", "finishing") else finished.code == 130, (
                said
            )
        elif hit and number == signal.SIGKILL:
            assert finished.code in (3, 1) if phase in ("drain", "finishing") else finished.code == 3, said
        else:
            assert finished.code == 1, said
        for manifest in results.glob("*/manifest.json"):
            assert loadgen("report", str(manifest.parent)).code == 0
            summary = analysis.summarise(analysis.load(manifest.parent))
            assert summary["exit_code"] != 0
        assert not list(results.glob(".new-*/manifest.json")) or who in ("parent", "master"), said


@pytest.mark.parametrize(
    ("name", "shell", "code"),
    [
        ("a pipe that is closed", '"$@" | head -1; exit ${PIPESTATUS[0]}', 1),
        ("a full disk behind stdout", '"$@" > /dev/full', 1),
        ("a full disk behind both", '"$@" > /dev/full 2>&1', 1),
        ("no stdout and no stderr at all", '"$@" >&- 2>&-', 1),
        ("a terminal of ASCII", 'PYTHONIOENCODING=ascii "$@"', 1),
        ("a terminal of Latin-1", 'PYTHONIOENCODING=latin-1 "$@"', 1),
        ("a locale of ASCII", 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"', 1),
    ],
)
def test_the_terminal_is_only_a_display(name: str, shell: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("bash", "-c", shell, "bash", sys.executable, "-m", "loadgen", "run", "comments"),
            *("--no-report", "--results", str(tmp_path), *overrides(FAILING)),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    assert done.returncode == code, (name, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert read(only_run(tmp_path) / "summary.json")["exit_code"] == code


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "arguments", [("plan", "comments"), ("report", "SAMPLE"), ("scenarios", "comments"), ("--help",)]
)
def test_no_command_fails_by_what_a_terminal_can_show(
    encoding: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("manifest.json", "deliveries.parquet", "events.parquet", "health.parquet"):
        (tmp_path / name).write_bytes((REPO / "results" / "sample" / name).read_bytes())
    given_ = [str(tmp_path) if argument == "SAMPLE" else argument for argument in arguments]
    finished = loadgen(*given_, env={"PYTHONIOENCODING": encoding})
    assert finished.code == 0, finished.said
    assert "Traceback" not in finished.said


def test_a_disk_that_fills_up_while_the_report_is_made_is_never_green(tmp_path: Path) -> None:
    if not may_unshare():
        pytest.skip("needs the right to make a mount namespace (unshare -m)")
    results = tmp_path / "results"
    results.mkdir()
    # All that is left of the disk goes when the record is complete: the report has no room.
    fill = (
        f"until ls {results}/*/deliveries.parquet && ! ls -d {results}/*/spool; do sleep 0.01; done; "
        f"dd if=/dev/zero of={results}/filler bs=1k"
    )
    prefix = [
        *("unshare", "-m", "sh", "-c"),
        f'mount -t tmpfs -o size=3m none {results} && (({fill}) >/dev/null 2>&1 &) ; "$@"; code=$?;'
        f" rm {results}/filler; cp -r {results} {tmp_path}/kept; exit $code",
        "sh",
    ]
    finished = loadgen(
        "run", "comments", "--report", "--results", str(results), *overrides(FAILING), prefix=prefix
    )
    assert finished.code in (1, 3), finished.said
    assert "No space left on device" in finished.err, finished.said
    assert "loadgen report" in finished.err, finished.said
    assert "Traceback" not in finished.said
    (kept,) = [path.parent for path in (tmp_path / "kept").glob("*/manifest.json")]
    assert loadgen("report", str(kept)).code == 0
    assert read(kept / "summary.json")["exit_code"] == 1
