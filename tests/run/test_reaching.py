"""Test how a worker ends if its master never answers."""

from typing import NoReturn

import pytest

from loadgen.exits import ExitCode
from loadgen.run import ending, reaching


class _Ended(Exception):
    pass


def test_a_master_that_never_answers_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: list[tuple[str, ExitCode]] = []

    def ended(reason: str, code: ExitCode) -> NoReturn:
        ends.append((reason, code))
        raise _Ended

    monkeypatch.setattr(ending, "exit_process", ended)
    with pytest.raises(_Ended), reaching.reaching("10.0.0.1:5557", forked=False):
        raise ConnectionError
    ((reason, code),) = ends
    assert code is ExitCode.TARGET
    assert "no master answered at 10.0.0.1:5557" in reason
    assert "--master-host" in reason
    assert "waiting for the master at 10.0.0.1:5557" in capsys.readouterr().err


def test_a_forked_worker_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with reaching.reaching("127.0.0.1:5557", forked=True):
        pass
    assert capsys.readouterr().err == ""
