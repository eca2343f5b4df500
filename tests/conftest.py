"""Settings for all tests.

Unit tests are in folders named like those of the modules that they test. Whole runs, servers and browsers are in
system/.
"""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.patched import PATCHED
from tests.programs import wanting

HERE = Path(__file__).parent
SYSTEM = HERE / "system"
#: Longest value in the name of a test, in characters.
LONGEST_ID = 200
#: The files of `PATCHED` import Locust, which patches the process, so they are collected only if the command line names
#: them.
collect_ignore = list(PATCHED)
#: Test files that import Locust (`PATCHED`) and were collected because the command line names them.
_named: list[str] = []


# No deadline, because on a busy machine an example may take any time. In CI the examples are the same each
# time, so that a change fails only for its own faults. Elsewhere they differ, so that more faults are found.
settings.register_profile(
    "loadgen",
    deadline=None,
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("loadgen")

# A shell starts background jobs and jobs under nohup with these signals ignored. The processes that tests start would
# inherit this, but tests send these signals to them and expect an effect.
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose tests that stay in one process (`--dist loadgroup`), and the order (`--no-loadscope-reorder`).

    The tests of a module stay together: the next tests reuse what the first has read or imported, and
    pytest-xdist distributes hundreds of modules faster than thousands of tests. In system/ only tests that
    share a fixture stay together, because the others wait for their own runs. Modules with long tests come
    first, then the largest ones, so that no process is left with much work at the end.
    """
    shared = {item.path for item in items if not _is_slow(item.path) or _shares_a_fixture(item)}
    together = Counter(item.path for item in items if item.path in shared)
    for item in items:
        if item.path in shared and config.pluginmanager.has_plugin("xdist"):
            item.add_marker(_group(item.path))
    long = {
        item.path if item.path in shared else item.nodeid for item in items if item.get_closest_marker("long")
    }
    items.sort(
        key=lambda item: (
            (item.path if item.path in shared else item.nodeid) not in long,
            -together[item.path],
        )
    )


# Cached, because there are thousands of tests in only hundreds of files.
@cache
def _is_slow(path: Path) -> bool:
    """Return whether a test file is in the folder system/, whose tests are slow."""
    return SYSTEM in path.parents


@cache
def _group(path: Path) -> pytest.MarkDecorator:
    """Return the mark that keeps the tests of a file in one process."""
    return pytest.mark.xdist_group(path.relative_to(HERE).as_posix())


def pytest_make_parametrize_id(val: object) -> str | None:
    """Cut long values in the names of tests: processes exchange the names, and one had 17 million spaces."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{val[:LONGEST_ID]!a} and {len(val) - LONGEST_ID} more"
    return None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Refuse a test file that imports Locust, as this patches threads for the process (see patched.py)."""
    if "locust" not in sys.modules or not report.fspath.endswith(".py") or _named:
        return
    name = report.fspath.removeprefix("tests/")
    if name not in PATCHED:
        raise pytest.UsageError(f"{report.fspath} imports Locust: put it into tests/patched.py")
    _named.append(name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Stop the garbage collector while modules are imported, because it would search them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, because they live as long as the process."""
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Return whether the test uses a fixture of its module or package, such as a run that many tests read."""
    if not isinstance(item, pytest.Function):
        return False
    definitions = item._fixtureinfo.name2fixturedefs.values()
    return any(found[-1].scope in ("module", "package", "class") for found in definitions)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which programs were missing, so that tests were skipped, and the command that installs them."""
    skipped = terminalreporter.stats.get("skipped", ())
    line = wanting(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    if line is not None:
        terminalreporter.write_line(line, yellow=True)
