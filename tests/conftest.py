"""Two layers of tests: unit tests beside the module they test, and whole runs, servers and browsers in system/."""

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
#: Characters of a value in the name of a test.
LONGEST_ID = 200
#: One that is named on the command line is collected as ever.
collect_ignore = list(PATCHED)
#: Files of that list which were collected all the same, as they were named.
_named: list[str] = []


# Nothing that hypothesis times: on a busy machine an example takes as long as the others let it. In CI the examples are
# the same each time, so that a change fails for its own faults; here they differ, and new ones are found.
settings.register_profile(
    "loadgen",
    deadline=None,
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("loadgen")

# A shell starts what runs in the background, or under nohup, with these ignored, and so would all processes that the
# tests start and send them to.
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests stay in one process (`--dist loadgroup`), and order them (`--no-loadscope-reorder`).

    The tests of a module stay together: what the first has read or imported the next have, and pytest-xdist deals out
    hundreds of modules instead of thousands of tests, whose list it goes through for each. In system/ only tests that
    share a fixture do, as the others wait for runs of their own. Modules with long tests come first, then the largest:
    at the end no process is left alone with much to do.
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


# Of thousands of tests, which are in hundreds of files.
@cache
def _is_slow(path: Path) -> bool:
    """Return whether a file of tests belongs to the slow layer."""
    return SYSTEM in path.parents


@cache
def _group(path: Path) -> pytest.MarkDecorator:
    """Return the mark that keeps the tests of a file in one process."""
    return pytest.mark.xdist_group(path.relative_to(HERE).as_posix())


def pytest_make_parametrize_id(val: object) -> str | None:
    """Cut long values in the names of tests, which each process sends several times: one was of 17 million spaces."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{val[:LONGEST_ID]!a} and {len(val) - LONGEST_ID} more"
    return None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Refuse a test file that imports Locust, which patches threads for all tests of the process; see patched.py."""
    if "locust" not in sys.modules or not report.fspath.endswith(".py") or _named:
        return
    name = report.fspath.removeprefix("tests/")
    if name not in PATCHED:
        raise pytest.UsageError(f"{report.fspath} imports Locust: put it into tests/patched.py")
    _named.append(name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector rest while modules are imported: it would search through them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported, which lives as long as the process."""
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Return whether the test uses a fixture of its module or package: a run that many tests read, say."""
    if not isinstance(item, pytest.Function):
        return False
    definitions = item._fixtureinfo.name2fixturedefs.values()
    return any(found[-1].scope in ("module", "package", "class") for found in definitions)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was skipped because a program is not installed, and the command that brings it."""
    skipped = terminalreporter.stats.get("skipped", ())
    line = wanting(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    if line is not None:
        terminalreporter.write_line(line, yellow=True)
