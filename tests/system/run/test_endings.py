"""Test every way in which a run's processes may end early.

A run that ended so does not pass. It prints no traceback, leaves no process behind, and its folder can be read.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.__main__ import main as analysis_main
from analysis.record.folders import runs_in
from tests.paths import REPO
from tests.system.harness import (
    STUCK_S,
    Finished,
    demanded,
    loadgen,
    may_unshare,
    only_run,
    overrides,
    read,
    start,
)
from tests.system.run.pages import page
from tests.system.service import Service

#: Options of a run whose gate fails whatever the service does.
FAILING = (
    'gates=["delivery.latency.p99 < 1us"]',
    "clients.readers.count=20",
    "clients.readers.ramp=40/s",
    "clients.commenters.count=2",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=300ms",
    "phases.measure=1s",
    "phases.drain=300ms",
)
PHASES = ("starting", "ramp", "ready", "warmup", "measure", "drain", "finishing")
PROCESSES = ("parent", "master", "worker", "server", "analysis")
ORDERLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def parts(parent: psutil.Process) -> dict[str, psutil.Process]:
    """Return the processes of a run by their role."""
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
        # Until the program has registered its signal handlers, Python's own would print a traceback.
        (caught,) = [
            line.split()[1]
            for line in Path(f"/proc/{parent.pid}/status").read_text().splitlines()
            if line.startswith("SigCgt:")
        ]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    if phase == "finishing" and "analysis" in parts(parent):
        return True
    for run in runs_in(results):
        return phase in {entry["name"] for entry in read(run / "manifest.json")["phases"]}
    return False


#: The process that gets a signal, and the phase: each process, each signal and each phase at least once, and the
#: combinations that once failed:
#:
#: =========  ========  ======  =======  =======  ============  =======  ===========
#: process    starting  ramp    ready    warmup   measure       drain    finishing
#: =========  ========  ======  =======  =======  ============  =======  ===========
#: parent     HUP       TERM                      INT, KILL
#: master                       TERM                                     HUP
#: worker                                         TERM          KILL
#: server                                INT      KILL
#: analysis                                                              KILL
#: =========  ========  ======  =======  =======  ============  =======  ===========
#:
#: INT to the parent in measure, as by Ctrl-C, ends the runs in test_plain_locust.py. After a SIGKILL a report with
#: charts is made from the record; after other signals the page is made without charts.
MOMENTS = (
    ("parent", signal.SIGKILL, "measure", 0.3, 2),
    ("parent", signal.SIGTERM, "ramp", 0.2, 1),
    ("parent", signal.SIGHUP, "starting", 0.0, 1),
    ("master", signal.SIGHUP, "finishing", 0.0, 1),
    ("master", signal.SIGTERM, "ready", 0.0, 2),
    ("worker", signal.SIGTERM, "measure", 0.3, 2),
    ("worker", signal.SIGKILL, "drain", 0.0, 2),
    ("server", signal.SIGKILL, "measure", 0.3, 1),
    ("server", signal.SIGINT, "warmup", 0.0, 1),
    ("analysis", signal.SIGKILL, "finishing", 0.1, 1),
)


@pytest.mark.parametrize(
    ("who", "number", "phase", "after_s", "workers"),
    MOMENTS,
    ids=[f"{who}-{number.name}-{phase}" for who, number, phase, _, _ in MOMENTS],
)
def test_whoever_is_ended_is_never_green(
    who: str, number: signal.Signals, phase: str, after_s: float, workers: int
) -> None:
    never_green(who, number, phase, after_s, workers)


@pytest.mark.skipif(
    "LOADGEN_ENDINGS" not in os.environ,
    reason="a search of many minutes: LOADGEN_ENDINGS=50 tries fifty moments",
)
@settings(
    max_examples=int(os.environ.get("LOADGEN_ENDINGS", "1")),
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
@pytest.mark.timeout(0)
def test_whoever_is_ended_however_and_whenever_it_is_never_green(
    who: str, number: signal.Signals, phase: str, after_s: float, workers: int
) -> None:
    never_green(who, number, phase, after_s, workers)


def never_green(who: str, number: signal.Signals, phase: str, after_s: float, workers: int) -> None:
    """Run a scenario, send the signal to one of its processes, and check what is left.

    The signal is sent ``after_s`` seconds after the phase has begun.
    """
    # A run that is to be ended before its last phases has a long measurement, so that it does not reach these
    # even if the machine is slow to send the signal.
    ending = phase in ("drain", "finishing")
    settings_ = FAILING if ending else (*FAILING, "phases.measure=120s")
    with TemporaryDirectory() as folder:
        results = Path(folder)
        process = start(
            "run", "comments", "--results", folder, "--processes", str(workers), *overrides(settings_)
        )
        parent, everybody, hit = psutil.Process(process.pid), [], False
        while process.poll() is None and not in_phase(results, parent, phase):
            time.sleep(0.02)
        time.sleep(after_s)
        if process.poll() is None:
            everybody = [parent, *parent.children(recursive=True)]
            family = parts(parent)
            if who not in family and not ending:
                # The process has not been started, or never will be, so signal the parent, which exists.
                who, number = "parent", signal.SIGTERM
            if who in family:
                # In the run's last phases, the process may have ended by now. Then no signal is sent, and the run ends
                # normally.
                with suppress(psutil.NoSuchProcess):
                    family[who].send_signal(number)
                    hit = True
        finished = Finished(process)
        said = f"{who} {number!r} in {phase} + {after_s}: {finished.said}"
        assert finished.code != 0, said
        assert "Traceback" not in finished.said, said
        # All processes should end within a second; this machine may be busy.
        _, alive = psutil.wait_procs(everybody, timeout=STUCK_S)
        assert not alive, (said, alive)
        summaries = []
        for run in runs_in(results):
            written = run / "summary.json"
            if written.exists():
                summaries.append(read(written))
            # The record can be read, and its report can be made.
            undrawn = [] if number == signal.SIGKILL else ["--no-report"]
            assert analysis_main(["report", str(run), *undrawn]) == 0
            assert page(run)
            assert read(written)["exit_code"] != 0
        # A run that is in its last phases may end before it gets the signal. Then its exit code is the one that its
        # verdict gives.
        through = [demanded(summary) for summary in summaries if summary["status"] == "complete"]
        if hit and (who, number) == ("parent", signal.SIGKILL):
            assert finished.code == -signal.SIGKILL, said
        elif hit and number in ORDERLY:
            assert finished.code == 130 or (ending and finished.code in through), said
        elif hit and number == signal.SIGKILL:
            assert finished.code == 3 or (ending and finished.code in through), said
        else:
            assert ending, said
            assert [finished.code] == through, said
        assert not list(results.glob(".new-*/manifest.json")) or who in ("parent", "master"), said


@pytest.mark.parametrize(
    ("name", "shell"),
    [
        # Each case combines an encoding with a way in which output fails, because the two are independent of each other
        # (tests/analysis/test_console.py).
        (
            "a pipe that is closed, in Latin-1",
            'PYTHONIOENCODING=latin-1 "$@" | head -1; exit ${PIPESTATUS[0]}',
        ),
        (
            "a full disk behind stdout, in a locale of ASCII",
            'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@" > /dev/full',
        ),
        ("a full disk behind both", '"$@" > /dev/full 2>&1'),
        ("no stdout and no stderr at all", '"$@" >&- 2>&-'),
    ],
)
def test_the_terminal_is_only_a_display(name: str, shell: str, tmp_path: Path, service: Service) -> None:
    done = subprocess.run(
        [
            *("bash", "-c", shell, "bash", sys.executable, "-m", "loadgen", "run", "comments"),
            *("--no-report", "--results", str(tmp_path), *service.options, *overrides(FAILING)),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=STUCK_S,
    )
    folder = only_run(tmp_path)
    summary = read(folder / "summary.json")
    # Either the gate fails (1), or the machine is so busy that the run is inconclusive (3).
    assert done.returncode == summary["exit_code"] == demanded(summary), (name, done.stdout, done.stderr)
    assert demanded(summary) in (1, 3)
    assert "Traceback" not in done.stdout + done.stderr


#: A program that runs several commands in one process. Only another terminal encoding needs another process, because a
#: process cannot change it after its start.
EACH_COMMAND = """
import json, sys
from loadgen.cli import main

codes = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["loadgen", *arguments]
    try:
        main()
    except SystemExit as end:
        codes[arguments[0]] = end.code
print(json.dumps(codes))
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_command_fails_by_what_a_terminal_can_show(encoding: str, tmp_path: Path) -> None:
    for name in ("manifest.json", "deliveries.parquet", "events.parquet", "health.parquet"):
        (tmp_path / name).write_bytes((REPO / "results" / "sample" / name).read_bytes())
    commands = [["plan", "comments"], ["scenarios", "comments"], ["--help"]]
    if encoding == "ascii":
        # The test above covers Latin-1: it makes a whole run, which also prints the report.
        commands.append(["report", str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", EACH_COMMAND, json.dumps(commands)],
        cwd=REPO,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=STUCK_S,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {command[0]: 0 for command in commands}, done
    assert "Traceback" not in done.stdout + done.stderr
    assert "defect" not in done.stderr


def test_a_disk_that_fills_up_while_the_report_is_made_is_never_green(tmp_path: Path) -> None:
    if not may_unshare():
        pytest.skip("needs the right to make a mount namespace (unshare -m)")
    results = tmp_path / "results"
    results.mkdir()
    # Once the record is complete, fill the rest of the disk, so that no space is left for the report.
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
    # tests/analysis/record/test_files.py tests that each file that could not be written is reported.
    finished = loadgen("run", "comments", "--results", str(results), *overrides(FAILING), prefix=prefix)
    assert finished.code in (1, 3), finished.said
    assert "No space left on device" in finished.err, finished.said
    assert "loadgen report" in finished.err, finished.said
    assert "Traceback" not in finished.said
    (kept,) = runs_in(tmp_path / "kept")
    assert analysis_main(["report", str(kept)]) == 0
    summary = read(kept / "summary.json")
    assert summary["exit_code"] == demanded(summary)
    assert summary["exit_code"] in (1, 3)
