"""Test the decision of a run's exit code, for every way in which a part can fail."""

import signal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.exits import ExitCode
from loadgen.run.ending import Analysis, Ending, Told, decide, how_it_ended, verdict_of
from loadgen.run.kills import KillWatch, killed_here

FOLDER = Path("results/run")
CODES = st.sampled_from(list(ExitCode))
RETURNED = st.one_of(st.none(), st.integers(-64, 255))


def test_of_a_run_of_which_nothing_is_known_nothing_is_green() -> None:
    assert Ending().code is ExitCode.INCONCLUSIVE


@given(CODES, RETURNED, st.none() | CODES, st.booleans(), st.none() | st.just("no room"))
def test_green_needs_a_whole_record_a_whole_analysis_and_a_verdict_that_says_so(
    own: ExitCode, returned: int | None, verdict: ExitCode | None, interrupted: bool, unwritten: str | None
) -> None:
    found = decide(FOLDER, own, Analysis(returned, verdict), interrupted, unwritten)
    whole = returned == 0 and unwritten is None and not interrupted
    if found.code is ExitCode.PASSED:
        assert whole
        assert verdict is ExitCode.PASSED
    if whole and verdict is not None and own is not ExitCode.INTERRUPTED:
        assert (found.code, found.sentences) == (verdict, ())
    if not whole and not interrupted:
        # The message names the command that completes the record, or the reason why the record is incomplete.
        assert found.sentences
        assert all("loadgen report" in sentence or sentence == "no room" for sentence in found.sentences)


@pytest.mark.parametrize(("own", "interrupted"), list(product(ExitCode, (True, False))))
def test_an_interrupted_run_says_so_whatever_else_happened(own: ExitCode, interrupted: bool) -> None:
    if interrupted or own is ExitCode.INTERRUPTED:
        for analysis in (Analysis(), Analysis(0, ExitCode.PASSED), Analysis(-9), Analysis(3)):
            assert decide(FOLDER, own, analysis, interrupted, None).code is ExitCode.INTERRUPTED


def test_an_early_failure_of_a_gate_needs_its_summary_too() -> None:
    assert decide(FOLDER, ExitCode.GATE_FAILED, Analysis(-9), False, None).code is ExitCode.INCONCLUSIVE
    assert decide(FOLDER, ExitCode.TARGET, Analysis(-9), False, None).code is ExitCode.TARGET


def test_a_verdict_that_was_written_before_the_report_failed_is_kept_unless_it_is_green() -> None:
    assert (
        decide(FOLDER, ExitCode.PASSED, Analysis(3, ExitCode.GATE_FAILED), False, None).code
        is ExitCode.GATE_FAILED
    )
    assert (
        decide(FOLDER, ExitCode.PASSED, Analysis(3, ExitCode.PASSED), False, None).code
        is ExitCode.INCONCLUSIVE
    )


def test_the_signal_is_named() -> None:
    unknown = KillWatch(lambda: None)
    assert how_it_ended("the master process", -9, unknown) == (
        "the master process was ended by signal 9 (SIGKILL; out of memory?)"
    )
    assert how_it_ended("the master process", -signal.SIGSEGV).endswith("signal 11 (SIGSEGV)")
    assert how_it_ended("the master process", -99).endswith("signal 99 (unknown)")
    assert how_it_ended("the master process", 1) == "the master process ended with exit code 1"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((3, 4), "out of memory: the kernel killed it"),
        ((3, 3), "not for lack of memory, by the kernel's count"),
        ((3, None), "out of memory?"),
        ((None, 4), "out of memory?"),
        # The count of kills fell from 3 to 1, so this process was moved to another cgroup, which has its own
        # count.
        ((3, 1), "out of memory?"),
    ],
)
def test_a_kill_for_want_of_memory_is_named_where_the_kernel_counts_it(
    counts: tuple[int | None, int | None], said: str
) -> None:
    read = iter(counts)
    watch = KillWatch(lambda: next(read))
    found = how_it_ended("worker 1", -signal.SIGKILL, watch)
    assert found.startswith(f"worker 1 was ended by signal 9 (SIGKILL; {said}")


def test_other_signals_are_not_blamed_on_memory() -> None:
    read = iter((0, 5))
    assert "memory" not in how_it_ended("worker 1", -signal.SIGTERM, KillWatch(lambda: next(read)))


def test_processes_killed_beside_the_master_are_counted() -> None:
    assert killed_here(1).startswith("the kernel killed a process beside the master for lack of memory")
    assert killed_here(3).startswith("the kernel killed 3 processes beside")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"exit_code": 77}', '{"exit_code": null}', "null", '{"exit']
)
def test_a_summary_that_says_no_exit_code_is_no_verdict(content: str, tmp_path: Path) -> None:
    assert verdict_of(tmp_path) is None
    (tmp_path / "summary.json").write_text(content)
    assert verdict_of(tmp_path) is None


def test_the_last_word_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "told"
    file.write_text('{"folder": "a"}\n{"code": 1}\n{"folder": "b"}\n{"code": 3}\n{"cod')
    with file.open("rb") as stream:
        told = Told.read(stream.fileno())
    assert told == Told(ExitCode.INCONCLUSIVE, Path("b"))
