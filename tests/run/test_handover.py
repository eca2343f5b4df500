"""Test that the Locust process gets the resolved run through a file descriptor: complete and only once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.handover import RUN_FD, Handover, handed, received
from tests.paths import REPO

GIVEN = Handover.of(resolve(load("chat")), Tables(), load_prices(), 1.5)
READ = """
import os
from loadgen.run.handover import RUN_FD, received
run = received().run
print(run.name, run.totals.clients, RUN_FD in os.environ, received())
"""


def test_a_child_gets_the_run_once() -> None:
    with handed(GIVEN) as descriptor:
        assert not os.get_inheritable(descriptor)
        done = subprocess.run(
            [sys.executable, "-c", READ],
            env={**os.environ, RUN_FD: str(descriptor), "PYTHONPATH": str(REPO)},
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.split() == ["chat", "400", "False", "None"], done.stderr
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_it_has_no_name_and_is_for_its_owner_only() -> None:
    with handed(GIVEN) as descriptor:
        status = os.fstat(descriptor)
        assert (status.st_nlink, status.st_uid) == (0, os.getuid())


def test_plain_locust_is_handed_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_FD, raising=False)
    assert received() is None


def test_what_is_no_run_ends_the_process_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"odd")
    monkeypatch.setenv(RUN_FD, str(os.open(path, os.O_RDONLY)))
    with pytest.raises(RunError, match=r"the run that `loadgen run` has resolved cannot be read") as raised:
        received()
    assert raised.value.code == ExitCode.INCONCLUSIVE
    monkeypatch.setenv(RUN_FD, "987654")
    with pytest.raises(RunError, match="Bad file descriptor"):
        received()


def test_the_budget_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with handed(GIVEN) as descriptor:
        monkeypatch.setenv(RUN_FD, str(os.dup(descriptor)))
        found = received()
    assert found == GIVEN
    assert found is not None
    assert found.budget is not None
    assert found.budget.max_usd == 1.5
    assert found.prices == load_prices().snapshot()
