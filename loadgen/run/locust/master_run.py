"""One run on a master: conduct it, make its report, and decide its exit code.

The coordinator takes the run through its phases (`loadgen.run.coordinator`).
"""

from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent.event import Event

from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.live.service import LiveService
from loadgen.run import ending
from loadgen.run.coordinator import FINISHING, Coordinator
from loadgen.run.ending import Analysis, Ending, Shown


class Display(Protocol):
    """The progress line: see `loadgen.run.display`."""

    def start(self) -> None:
        """Begin to show the run's state."""

    def stop(self) -> None:
        """Stop showing the run's state."""


class MasterRun:
    """A run that a coordinator conducts. At its end ``on_end`` is called with the exit code; then :attr:`ended` is set.

    ``report`` is False to leave out the HTML report. ``shown`` selects the text that is printed about the run.
    ``has_page`` is True if the process goes on after the run to serve a web UI. ``analyse`` is `ending.analyse`, except
    in tests.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        display: Display,
        live: LiveService,
        on_end: Callable[[ExitCode], None],
        *,
        report: bool,
        shown: Shown = Shown.ALL,
        has_page: bool = False,
        analyse: Callable[..., Analysis] = ending.analyse,
        sleep: Callable[[float], Any] = gevent.sleep,
    ) -> None:
        self.coordinator = coordinator
        #: Set when the run is over and its exit code is decided.
        self.ended = Event()
        self._display = display
        self._live = live
        self._on_end = on_end
        self._report, self._shown = report, shown
        self._analyse = analyse
        self._sleep = sleep
        self._has_page = has_page
        self._interrupts = 0
        #: True if the user's first signal came after the load had ended. Such a signal closes the web UI once the
        #: report is made, and does not count as an interruption of the run.
        self.closing = False

    @property
    def over(self) -> bool:
        """True if the run has ended."""
        return bool(self.ended.is_set())

    @property
    def past(self) -> bool:
        """True if the run's record is closed."""
        return self.over or bool(self.coordinator.done.is_set())

    def conduct(self) -> None:
        """Conduct the run until it ends, and decide the exit code even if an exception occurs."""
        found = Ending()
        try:
            self.coordinator.run()
            found = self._conclude()
        finally:
            self._hide_displays()
            self._on_end(found.code)
            ending.tell(code=int(found.code))
            self.ended.set()
            self._live.conclude(self.coordinator.folder.path, found.code)

    def interrupt(self) -> None:
        """Handle Ctrl-C or another ending signal: the first ends the run, the second also stops its report.

        If the process has a web UI and the first signal comes after the load has ended, it only sets :attr:`closing`.
        """
        self._interrupts += 1
        if self.coordinator.phase == FINISHING and self._interrupts == 1:
            self.closing = self._has_page
            say(
                "the run is over: the page closes when its report is made; Ctrl-C once more stops the report"
                if self.closing
                else "interrupted: the report is still being made; Ctrl-C once more stops that"
            )
        self.coordinator.interrupt()

    def _conclude(self) -> Ending:
        """Make the report of a run whose record is complete, and return how the run ended."""
        self._hide_displays()
        coordinator = self.coordinator
        folder, manifest = coordinator.folder.path, coordinator.manifest
        if manifest.reason:
            say(manifest.reason)
        analysis = Analysis()
        if coordinator.unwritten is None:
            analysis = self._analyse(
                folder,
                report=self._report,
                shown=self._shown,
                cancelled=lambda: self._interrupts > 1,
                sleep=self._sleep,
            )
            if analysis.returncode == 0 and (where := coordinator.folder.leave_rows_in_storage()) is not None:
                say(where)
        interrupted = self._interrupts > (1 if self.closing else 0)
        found = ending.decide(folder, coordinator.exit_code, analysis, interrupted, coordinator.unwritten)
        for sentence in found.sentences:
            say(sentence)
        return found

    def _hide_displays(self) -> None:
        self._display.stop()
        self._live.end()
