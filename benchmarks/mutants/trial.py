"""Run the tests of one area of the code on one mutant, in a separate process with limits on time and memory."""

import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

#: Imported once, before the processes are forked. None of these modules is mutated or starts threads on import.
_SHARED = (
    "hypothesis",
    "jinja2",
    "msgspec",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "pytest",
    "scipy.stats",
    "websockets.client",
    "xml.etree.ElementTree",
)
_MEMORY_BYTES = 6 << 30


class Outcome(StrEnum):
    """The outcome of a mutant's tests."""

    KILLED = "killed"
    SURVIVED = "survived"
    #: The tests exceeded a limit of time or memory.
    STOPPED = "stopped"


@dataclass(frozen=True)
class Ended:
    """The end of a test process: pytest's exit code, or None if it was stopped, and the CPU time used."""

    code: int | None
    cpu_s: float


class _Quickest:
    """A pytest plugin that runs the quickest tests first, by their durations on the unchanged code."""

    def __init__(self, durations: Path) -> None:
        self._durations = durations
        self._known: dict[str, float] = json.loads(durations.read_text()) if durations.exists() else {}
        self._seen: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort the tests by duration."""
        items.sort(key=lambda item: self._known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add to a test's duration."""
        self._seen[report.nodeid] = self._seen.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the tests' durations to a file, unless an earlier session has written it."""
        if not self._durations.exists():
            self._durations.write_text(json.dumps(self._seen))


def warm_up() -> None:
    """Import the modules that all processes share."""
    for name in _SHARED:
        importlib.import_module(name)
    gc.freeze()


def run_tests(copy: Path, tests: Sequence[str], skipped: Sequence[str], cpu_s: float) -> Ended:
    """Run tests in a copy of the repository until one fails, for at most ``cpu_s`` seconds of CPU time.

    Their output goes to ``output.txt`` in the copy. The durations of the first run (``durations.json``) determine the
    order of the tests in later runs.
    """
    child = os.fork()
    if child == 0:
        _become(lambda: _tests(copy, tests, skipped, cpu_s), copy / "output.txt")
    # Limit the wall time too, since a mutant may wait forever without using the CPU; be generous, since on a busy
    # machine wall time includes waiting for the CPU.
    return _wait(child, time.monotonic() + 10 * cpu_s + 30)


def _wait(child: int, deadline: float) -> Ended:
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return Ended(None if code < 0 else code, usage.ru_utime + usage.ru_stime)
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(None, 0.0)
        time.sleep(0.01)


def _become(work: Callable[[], int], output: Path) -> None:
    """Do the work in this forked child, then exit, whatever happens."""
    code = 70
    try:
        os.setsid()
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = work()
    finally:
        os._exit(code)


def _tests(copy: Path, tests: Sequence[str], skipped: Sequence[str], cpu_s: float) -> int:
    import hypothesis
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 2))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    # Use the same examples for each mutant, and do not shrink a failing example: one failure is enough.
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutants")
    # Loading all installed plugins would take time for each mutant.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [f"-p{each}" for each in ("no:cacheprovider", "_hypothesis_pytestplugin", "pytest_timeout")]
    options = ["-x", "-q", "--no-header", "--tb=line", *plugins, *(f"--deselect={each}" for each in skipped)]
    return int(pytest.main([*options, *tests], [_Quickest(copy / "durations.json")]))


def write_module(copy: Path, module: str, source: str) -> None:
    """Write a module's source into the copy, and remove its old bytecode."""
    path = copy / module
    path.write_text(source, encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
