"""No load leaves this machine unless somebody has said so: by every command that starts one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import REPO
from tests.run.test_remote import REMOTE, SAID
from tests.system.harness import loadgen


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("run", "comments", *REMOTE), ""),
        (
            ("capacity", "comments", "--slo", "delivery.loss == 0", *REMOTE),
            ", and a search makes many of them, most with a load of their own",
        ),
        (("ab", " ".join(("comments", *REMOTE)), "comments"), ""),
    ],
)
def test_every_command_refuses(command: tuple[str, ...], more: str, tmp_path: Path) -> None:
    done = loadgen(*command, "--results", str(tmp_path / "results"))
    assert done.code == 2, done.said
    assert [line for line in done.err.splitlines() if line] == [f"loadgen: {SAID}{more}"]
    assert not list(tmp_path.rglob("manifest.json"))


def test_plain_locust_refuses(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "locustfile.py", "--headless", *REMOTE, "--results", str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"loadgen: {SAID}" in done.stderr
    assert "Traceback" not in done.stderr
