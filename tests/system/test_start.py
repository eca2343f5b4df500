"""Test that each kind of process loads only the modules that it needs."""

import subprocess
import sys

import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S

#: The slow imports among all modules that the harness uses: each takes at least 0.1 s of CPU time.
HEAVY = frozenset(
    {
        "aiohttp",
        "asyncio",
        "botocore",
        "cryptography",
        "duckdb",
        "flask",
        "httpx",
        "jinja2",
        "jwt",
        "locust",
        "matplotlib",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "pygments",
        "requests",
        "rich",
        "ruptures",
        "scipy",
        "typer",
    }
)
_COMMANDS = """
from loadgen.cli import aws, capacity, client, compare, join, notebook, plan, scenarios, serve, verify
from loadgen.cli.app import app
"""
_RUN = """
from loadgen.cli import commands, launch
commands.load(["run"])
"""
_LOCUST = """
import sys
from loadgen.run import start_locust
sys.argv = ["locust", "-f", "locustfile.py", *{options!r}]
main = start_locust.prepared()
import loadgen.run.install, loadgen.users
import pyarrow as pa
pa.array([1])
"""
_FINISH = f"""
import shutil, tempfile
import analysis.__main__
with tempfile.TemporaryDirectory() as folder:
    shutil.copytree({str(REPO / "results" / "sample")!r}, folder, dirs_exist_ok=True)
    for path in Path(folder).iterdir():
        if path.name in ("summary.json", "fanout.parquet", "ledger.parquet"):
            path.unlink()
    assert analysis.__main__.main(["finish", folder, "--no-report"]) == 0
    assert (Path(folder) / "fanout.parquet").exists() and (Path(folder) / "ledger.parquet").exists()
"""
#: For each kind of process: the code that it runs before its actual work, and the heavy modules that it
#: needs.
PROCESSES = {
    "child": ("import loadgen.child", set()),
    "loadgen run": (_RUN, {"pydantic", "typer"}),
    # This entry tests two kinds of process at once: both need the same heavy modules, and neither may load more.
    "command line and loadgen plan": (
        _COMMANDS + "from loadgen.planning.calibration import load_calibration",
        {"pydantic", "rich", "typer"},
    ),
    "locust": (
        _LOCUST.format(options=["--headless"]),
        {"locust", "numpy", "pyarrow"},
    ),
    "locust, a worker": (
        _LOCUST.format(options=["--worker"]),
        {"locust", "numpy", "pyarrow"},
    ),
    "server": ("import loadgen.server.__main__", {"aiohttp", "asyncio"}),
    # Run the whole analysis: merely importing pyarrow would not load pandas, but the first use of pyarrow might.
    "analysis": ("from pathlib import Path" + _FINISH, {"numpy", "pyarrow", "rich"}),
}


def loaded(code: str) -> frozenset[str]:
    """Return the heavy modules that a process has loaded after it has run some code."""
    said = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys\nprint('loaded:', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=STUCK_S,
    )
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("loaded: ")]
    return HEAVY & set(line.split())


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_process_loads_what_it_needs_and_nothing_else_that_is_heavy(kind: str) -> None:
    code, needed = PROCESSES[kind]
    # Test equality, so that `PROCESSES` also lists no module that is not needed any more.
    assert loaded(code) == needed


def test_the_check_would_find_a_heavy_module() -> None:
    assert loaded("import numpy") == {"numpy"}


def test_locust_keeps_its_web_ui_where_one_is_wanted() -> None:
    assert {"flask", "jinja2"} <= loaded(_LOCUST.format(options=["--web-host", "127.0.0.1"]))
