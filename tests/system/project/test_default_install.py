"""Test an installation without extras: the main commands work, and every other command says what to install."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from analysis import extras
from tests.paths import REPO
from tests.system.harness import SMALL, STUCK_S, as_judged, free_port, loadgen, only_run, overrides, start

SAMPLE: Final = str(REPO / "results" / "sample")
#: Makes imports of the extras' modules fail in every Python process, as if they were not installed.
_BLOCKER: Final = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())

from importlib import metadata

class Hidden(metadata.MetadataPathFinder):
    @classmethod
    def find_distributions(cls, context=metadata.DistributionFinder.Context()):
        return [each for each in super().find_distributions(context) if each.name not in {names!r}]

for number, finder in enumerate(sys.meta_path):
    if hasattr(finder, "find_distributions"):
        sys.meta_path[number] = type("Finder", (), {{
            "find_spec": staticmethod(finder.find_spec),
            "invalidate_caches": staticmethod(lambda: None),
            "find_distributions": Hidden.find_distributions,
        }})
"""
_IAM: Final = """
auth:
  iam:
    users:
      - access_key_id: AKIAIOSFODNN7EXAMPLE
        secret_env: SECRET_OF_TEST
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """Return the environment of processes that cannot import the modules of any extra."""
    names = {name for modules in extras.MODULES.values() for name in modules}
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(_BLOCKER.format(names=names))
    return {"PYTHONPATH": str(tmp_path / "path"), "SECRET_OF_TEST": "x"}


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + STUCK_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def test_the_modules_of_the_extras_are_really_missing(bare: dict[str, str]) -> None:
    for modules in extras.MODULES.values():
        for name in modules:
            command = [sys.executable, "-c", f"import {name}"]
            done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
            assert f"No module named {name!r}" in done.stderr


def test_the_metadata_of_the_extras_are_really_missing(bare: dict[str, str]) -> None:
    for name in ("pandas", "scipy", "weasyprint"):
        command = [sys.executable, "-c", f"from importlib import metadata; metadata.version({name!r})"]
        done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
        assert "PackageNotFoundError" in done.stderr, done.stderr


def test_a_run_and_its_reports_need_no_extra(bare: dict[str, str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = loadgen("run", "comments", *overrides(SMALL), "--results", str(results), "--report", env=bare)
    run = only_run(results)
    as_judged(done, run)
    assert (run / "report.html").stat().st_size > 10_000


def test_a_pdf_needs_its_extra_or_a_browser(bare: dict[str, str], tmp_path: Path) -> None:
    run = Path(shutil.copytree(SAMPLE, tmp_path / "run", ignore=shutil.ignore_patterns("*.html", "*.md")))
    done = loadgen("report", str(run), "--format", "pdf", env=bare)
    assert (done.code, (run / "report.pdf").exists()) == (2, False), done.said
    assert "a PDF needs the extra 'pdf', which is not installed" in done.said
    assert "print report.html from a browser" in done.said
    # The command ended before it wrote any file.
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "comments"],
        ["scenarios"],
        ["doctor"],
        ["baseline", SAMPLE, "{tmp}/baseline.json"],
        ["probe", "--help"],
        ["serve", "--help"],
        ["aws", "template"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_extra(bare: dict[str, str], tmp_path: Path, arguments: list[str]) -> None:
    done = loadgen(*(part.replace("{tmp}", str(tmp_path)) for part in arguments), env=bare)
    assert "needs the extra" not in done.said
    # The exit code of `doctor` depends on this machine.
    assert done.code == 0 or arguments == ["doctor"], done.said


def test_probe_finds_a_server_of_ours(bare: dict[str, str]) -> None:
    """Neither the embedded server nor the client needs an extra."""
    port, environment = free_port(), {**bare, "KEY_OF_TEST": "da2-" + "a" * 26}
    server = start("serve", "--port", str(port), "--api-key-env", "KEY_OF_TEST", env=environment)
    try:
        wait_for_port(port)
        target = f"http://127.0.0.1:{port}/event"
        done = loadgen("probe", "--target", target, "--auth", "api-key:KEY_OF_TEST", env=environment)
        assert done.code == 0, done.said
    finally:
        server.terminate()
        server.communicate(timeout=STUCK_S)


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("compare", ["compare", SAMPLE, SAMPLE]),
        ("compare", ["history", SAMPLE]),
        ("compare", ["ab", "comments", "comments"]),
        ("compare", ["capacity", "comments"]),
        ("pandas", ["calibrate"]),
        ("verify", ["verify", SAMPLE]),
        ("notebooks", ["notebook", SAMPLE, "percentiles"]),
        ("aws", ["aws", "status", "--region", "eu-west-1"]),
        (
            "aws",
            ["run", "comments", "--target", "aws:loadgen", "--allow-remote", "--results", "{tmp}/results"],
        ),
        (
            "aws",
            [
                "run",
                "comments",
                "--target",
                "http://127.0.0.1:9/event",
                "--auth",
                "iam",
                "--results",
                "{tmp}/results",
            ],
        ),
        ("aws", ["serve", "--api", "{tmp}/api.yaml"]),
        ("live", ["run", "comments", "--otel", "--results", "{tmp}/results"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_a_command_that_needs_one_says_so_in_a_sentence(
    bare: dict[str, str], tmp_path: Path, extra: str, arguments: list[str]
) -> None:
    (tmp_path / "api.yaml").write_text(_IAM)
    done: Any = loadgen(*(part.replace("{tmp}", str(tmp_path)) for part in arguments), env=bare)
    assert done.code == 2, done.said
    said = done.err.strip().splitlines()[-1]
    assert f"needs the extra {extra!r}, which is not installed: " in said
    assert "install" in said.partition("not installed")[2]
    assert "Traceback" not in done.said
    # No run was begun.
    assert not list((tmp_path / "results").glob("*/deliveries.parquet"))
