"""Test each way in which a run on a master ends, and its exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.exits import ExitCode
from loadgen.run.coordinator import FINISHING
from loadgen.run.ending import Analysis
from loadgen.run.locust.master_run import MasterRun
from tests.run.locust.made_up import Coordinator, Display, Live, analysed


class Conducted:
    """A run whose parts are simulated, and the exit codes that it reported."""

    def __init__(
        self,
        folder: Path,
        analyse: Callable[..., Analysis] | None = None,
        *,
        report: bool = True,
        has_page: bool = False,
    ) -> None:
        self.coordinator = Coordinator(folder)
        self.display, self.live = Display(), Live()
        self.codes: list[ExitCode] = []
        coordinator: Any = self.coordinator
        live: Any = self.live
        self.run = MasterRun(
            coordinator,
            self.display,
            live,
            self.on_end,
            report=report,
            has_page=has_page,
            analyse=analyse or analysed(),
        )

    def on_end(self, code: ExitCode) -> None:
        # The exit code must be reported before the run counts as over.
        assert not self.run.over
        self.codes.append(code)

    def code(self) -> ExitCode:
        self.run.conduct()
        assert self.run.over
        (code,) = self.codes
        return code


@pytest.mark.parametrize(
    ("own", "analysis", "code"),
    [
        (ExitCode.PASSED, analysed(), ExitCode.PASSED),
        (ExitCode.PASSED, analysed(verdict=ExitCode.GATE_FAILED), ExitCode.GATE_FAILED),
        (ExitCode.GATE_FAILED, analysed(verdict=ExitCode.GATE_FAILED), ExitCode.GATE_FAILED),
        (ExitCode.PASSED, analysed(verdict=ExitCode.INCONCLUSIVE), ExitCode.INCONCLUSIVE),
        (ExitCode.PASSED, analysed(returncode=-9, verdict=None), ExitCode.INCONCLUSIVE),
        (ExitCode.TARGET, analysed(returncode=1, verdict=None), ExitCode.TARGET),
        (ExitCode.INTERRUPTED, analysed(verdict=ExitCode.INCONCLUSIVE), ExitCode.INTERRUPTED),
        (ExitCode.PASSED, analysed(returncode=130, verdict=None), ExitCode.INTERRUPTED),
    ],
)
def test_the_exit_code_is_that_of_the_run_and_its_analysis(
    own: ExitCode, analysis: Callable[..., Analysis], code: ExitCode, tmp_path: Path
) -> None:
    conducted = Conducted(tmp_path, analysis)
    conducted.coordinator.exit_code = own
    assert conducted.code() is code


def test_the_displays_are_hidden_before_anything_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def analyse(*_: Any, **__: Any) -> Analysis:
        assert conducted.display.events == ["stop"]
        assert conducted.live.events == ["end"]
        return Analysis(0, ExitCode.PASSED)

    conducted = Conducted(tmp_path, analyse)
    conducted.coordinator.manifest.reason = "worker 2 is gone"
    conducted.code()
    assert "worker 2 is gone" in capsys.readouterr().err


def test_a_record_that_could_not_be_written_is_not_analysed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def analyse(*_: Any, **__: Any) -> Analysis:
        raise AssertionError

    conducted = Conducted(tmp_path, analyse)
    conducted.coordinator.exit_code = ExitCode.INCONCLUSIVE
    conducted.coordinator.unwritten = "the disk is full"
    assert conducted.code() is ExitCode.INCONCLUSIVE
    assert capsys.readouterr().err.count("the disk is full") == 1


def test_a_defect_of_the_analysis_ends_the_run_as_inconclusive_all_the_same(tmp_path: Path) -> None:
    def analyse(*_: Any, **__: Any) -> Analysis:
        raise RuntimeError

    conducted = Conducted(tmp_path, analyse)
    with pytest.raises(RuntimeError):
        conducted.run.conduct()
    assert conducted.run.over
    assert conducted.codes == [ExitCode.INCONCLUSIVE]
    assert conducted.display.events[-1] == "stop"


def test_without_a_report_none_is_drawn(tmp_path: Path) -> None:
    wanted: list[bool] = []

    def analyse(_: Path, *, report: bool, **__: Any) -> Analysis:
        wanted.append(report)
        return Analysis(0, ExitCode.PASSED)

    Conducted(tmp_path, analyse, report=False).code()
    Conducted(tmp_path, analyse).code()
    assert wanted == [False, True]


def test_where_the_rows_are_is_said_unless_the_report_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for returncode, count in ((0, 1), (3, 0)):
        run = Conducted(tmp_path, analysed(returncode))
        run.coordinator.where = "the rows are in a bucket"
        run.code()
        assert capsys.readouterr().err.count("the rows are in a bucket") == count


def test_the_first_interrupt_ends_the_load_and_the_second_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def analyse(_: Path, *, cancelled: Callable[[], bool], **__: Any) -> Analysis:
        asked.append(cancelled())
        conducted.coordinator.phase = FINISHING
        conducted.run.interrupt()
        asked.append(cancelled())
        return Analysis(-15)

    conducted = Conducted(tmp_path, analyse)
    conducted.coordinator.plan = conducted.run.interrupt
    assert conducted.code() is ExitCode.INTERRUPTED
    assert conducted.coordinator.interrupts == 2
    assert asked == [False, True]
    assert "the report is still being made" not in capsys.readouterr().err


def test_an_interrupt_after_the_load_does_not_end_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def analyse(_: Path, *, cancelled: Callable[[], bool], **__: Any) -> Analysis:
        conducted.coordinator.phase = FINISHING
        conducted.run.interrupt()
        assert not cancelled()
        return Analysis(0, ExitCode.PASSED)

    conducted = Conducted(tmp_path, analyse)
    assert conducted.code() is ExitCode.INTERRUPTED
    assert "the report is still being made; Ctrl-C once more stops that" in capsys.readouterr().err


@pytest.mark.parametrize("verdict", [ExitCode.PASSED, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE])
def test_an_interrupt_after_the_load_only_closes_a_web_ui(
    verdict: ExitCode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def analyse(_: Path, *, cancelled: Callable[[], bool], **__: Any) -> Analysis:
        conducted.coordinator.phase = FINISHING
        conducted.run.interrupt()
        assert conducted.run.closing
        assert not cancelled()
        return Analysis(0, verdict)

    conducted = Conducted(tmp_path, analyse, has_page=True)
    assert conducted.code() is verdict
    assert conducted.live.events[-1] == f"conclude {verdict.name}"
    said = capsys.readouterr().err
    assert "the page closes when its report is made; Ctrl-C once more stops the report" in said
    assert "interrupted" not in said


def test_a_second_interrupt_after_the_load_stops_the_report_of_a_web_ui_too(tmp_path: Path) -> None:
    def analyse(_: Path, *, cancelled: Callable[[], bool], **__: Any) -> Analysis:
        conducted.coordinator.phase = FINISHING
        conducted.run.interrupt()
        conducted.run.interrupt()
        assert cancelled()
        return Analysis(-15)

    conducted = Conducted(tmp_path, analyse, has_page=True)
    assert conducted.code() is ExitCode.INTERRUPTED


def test_an_interrupt_of_the_load_itself_counts_with_a_web_ui_too(tmp_path: Path) -> None:
    conducted = Conducted(tmp_path, has_page=True)
    conducted.coordinator.plan = conducted.run.interrupt
    assert conducted.code() is ExitCode.INTERRUPTED
    assert not conducted.run.closing


def test_the_record_is_closed_before_the_run_is_over(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []

    def analyse(*_: Any, **__: Any) -> Analysis:
        seen.append((conducted.run.past, conducted.run.over))
        return Analysis(0, ExitCode.PASSED)

    conducted = Conducted(tmp_path, analyse)
    assert not conducted.run.past
    conducted.code()
    assert seen == [(True, False)]
