"""Test `--abort-on`: the named reasons end a run early, and the others do not."""

import pytest

from loadgen.exits import ExitCode, RunError
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.master.doubts import Doubts
from loadgen.run.master.phases import StoppedError
from loadgen.run.master.workers import Workers
from loadgen.run.option import AbortOn
from loadgen.run.worker_info import LOCAL, WorkerInfo
from loadgen.scenario import overrides_of
from tests.run.master.test_phases import ALL, Conducted, loses

#: Two seconds of warm-up and twenty of measurement, at 100 events/s.
LONG = ("phases.warmup=2s", "phases.measure=20s")


def sends(run: Conducted, share: float, until_s: int = 60) -> None:
    """Let the workers send a report every second, with ``share`` of the due events as sent."""

    def report() -> None:
        if run.view.timeline is not None:
            run.count(sent=int(100 * share))()

    for second in range(until_s):
        run.clock.after(second, report)


def test_without_the_option_a_run_goes_on_whatever_happens() -> None:
    run = Conducted(*LONG, workers=("one", "two"))
    run.goes_well()
    sends(run, 0.1)
    run.clock.after(8, loses(run, "two"))
    run.clock.after(8, run.count(failures=3))
    run.phases.go()
    assert run.names == ALL


def test_a_lost_worker_ends_a_run_that_can_only_be_invalid() -> None:
    run = Conducted(*LONG, workers=("one", "two"), abort_on=(AbortOn.INVALID,))
    run.goes_well()
    run.clock.after(10, loses(run, "two"))
    error = str(run.fails(StoppedError))
    assert error.startswith("ended by --abort-on invalid: ")
    assert run.workers["two"].info.name in error
    assert 10 <= run.seconds <= 11.1
    assert run.names[-1] == "measure"


@pytest.mark.parametrize(("failures", "times"), [(1, "once"), (2_000, "2,000 times")])
def test_failures_of_our_own_end_it_too(failures: int, times: str) -> None:
    run = Conducted(*LONG, abort_on=(AbortOn.INVALID,))
    run.goes_well()
    run.clock.after(10, run.count(failures=failures))
    assert times in str(run.fails(StoppedError))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_a_missed_rate_ends_it_after_some_seconds(share: float) -> None:
    run = Conducted(*LONG, abort_on=(AbortOn.RATE,))
    run.goes_well()
    sends(run, share)
    error = str(run.fails(StoppedError))
    assert error.startswith("ended by --abort-on rate: ")
    assert "lower the rate" in error
    assert run.names[-1] == "measure"


@pytest.mark.parametrize("share", [0.97, 1.0])
def test_a_rate_that_is_kept_does_not_end_it(share: float) -> None:
    run = Conducted(*LONG, abort_on=(AbortOn.RATE, AbortOn.INVALID))
    run.goes_well()
    sends(run, share)
    run.phases.go()
    assert run.names == ALL


def test_what_was_missed_before_the_measurement_does_not_count() -> None:
    run = Conducted("phases.warmup=10s", "phases.measure=20s", abort_on=(AbortOn.RATE,))
    run.goes_well()

    def report() -> None:
        if run.names[-1:] == ["measure"]:
            run.count(sent=100)()

    for second in range(60):
        run.clock.after(second, report)
    run.phases.go()
    assert run.names == ALL


@pytest.mark.parametrize(
    ("scenario", "known"), [("comments", True), ("support-chat", False), ("assistant", False)]
)
def test_the_rate_must_be_known_beforehand(scenario: str, known: bool) -> None:
    run = resolve(load(scenario, overrides_of([])))
    workers = Workers(run, [WorkerInfo(LOCAL, 0, pid=1)])
    Doubts(run, workers, [AbortOn.INVALID])
    if known:
        Doubts(run, workers, [AbortOn.RATE])
        return
    with pytest.raises(RunError, match="--abort-on rate goes with") as caught:
        Doubts(run, workers, [AbortOn.RATE])
    assert caught.value.code is ExitCode.USAGE
