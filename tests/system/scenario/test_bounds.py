"""Test the size and depth limits of files: the command prints one sentence and exits with 2."""

import re
from pathlib import Path

import pytest

from tests.system.harness import loadgen
from tests.system.here import here


@pytest.mark.parametrize("option", ["--set", "--faults", "--prices", "--auth"])
def test_the_command_ends_with_2(tmp_path: Path, option: str) -> None:
    deep = "[" * 3_000
    path = tmp_path / "deep.yaml"
    path.write_text(f"a: {deep}")
    value = f"clients.readers.count={deep}" if option == "--set" else str(path)
    more = ["--target", "http://127.0.0.1:9/event"] if option == "--auth" else []
    arguments = ("plan" if option == "--prices" else "run", "comments", option, value, *more)
    # The command reads `--set` and `--prices` before it starts a process, so it can run in this process here.
    finished = here(*arguments, env={}) if option in ("--set", "--prices") else loadgen(*arguments)
    assert finished.code == 2, finished.said
    assert "Traceback" not in finished.err
    assert re.search(r"nested too deeply|not YAML", finished.err), finished.said
    assert len(finished.err.splitlines()) == 1
