"""Show the progress of a run on one line of the terminal, or in a log."""

import os
import sys
import time
from typing import Any, TextIO

import gevent

from analysis import text
from analysis.console import drawing
from loadgen.run.coordinator import Coordinator
from loadgen.run.master.progress import Snapshot
from loadgen.run.option import Progress

_LIVE_INTERVAL_S = 0.25


def display_of(coordinator: Coordinator, options: Any) -> "ProgressDisplay | NoDisplay":
    """Return the display that the options of a run select."""
    how = Progress.NONE if options.quiet else Progress(options.progress)
    if how is Progress.NONE:
        return NoDisplay()
    return ProgressDisplay(coordinator, options.progress_interval, plain=how is Progress.PLAIN)


class NoDisplay:
    """Show nothing."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class ProgressDisplay:
    """Redraw one line on a terminal; in a file or a CI log, or if ``plain``, print a new line at each interval."""

    def __init__(self, coordinator: Coordinator, interval_s: float, *, plain: bool) -> None:
        """``interval_s`` is the time between two printed lines; a line on a terminal is redrawn more often."""
        self._coordinator = coordinator
        self._interval_s, self._plain = interval_s, plain
        self._file = drawing(sys.stderr)
        self._previous: tuple[float, int, int] | None = None
        self._rates = (0.0, 0.0)
        self._greenlet: gevent.Greenlet | None = None
        self._running = False

    def start(self) -> None:
        """Begin to show the run's state."""
        self._running = True
        self._greenlet = gevent.spawn(
            self._show_live if draws(self._file) and not self._plain else self._show_plain
        )

    def stop(self) -> None:
        """Stop the display, and wait up to two seconds for its greenlet to end."""
        self._running = False
        if self._greenlet is not None:
            self._greenlet.join(2)

    def _show_live(self) -> None:
        # Import rich only here, since plain logs do not need it.
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=self._file, highlight=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while self._running:
                text = Text.assemble(*self._line(), no_wrap=True, overflow="ellipsis")
                live.update(text, refresh=True)
                gevent.sleep(_LIVE_INTERVAL_S)

    def _show_plain(self) -> None:
        shown_phase, shown_s = "", 0.0
        while self._running:
            snapshot = self._coordinator.snapshot()
            if snapshot.phase != shown_phase or time.monotonic() - shown_s >= self._interval_s:
                shown_phase, shown_s = snapshot.phase, time.monotonic()
                print("".join(text for text, _ in self._line()), file=self._file, flush=True)
            gevent.sleep(min(_LIVE_INTERVAL_S, self._interval_s))

    def _line(self) -> list[tuple[str, str]]:
        snapshot = self._coordinator.snapshot()
        self._measure(snapshot)
        return render(snapshot, *self._rates)

    def _measure(self, snapshot: Snapshot) -> None:
        """Update the rates once a second, so that they do not flicker."""
        at_s = time.monotonic()
        if self._previous is None:
            self._previous = (at_s, snapshot.sent, snapshot.deliveries)
        elif at_s - self._previous[0] >= 1.0:
            seconds = at_s - self._previous[0]
            self._rates = (
                (snapshot.sent - self._previous[1]) / seconds,
                (snapshot.deliveries - self._previous[2]) / seconds,
            )
            self._previous = (at_s, snapshot.sent, snapshot.deliveries)


def draws(file: TextIO) -> bool:
    """Return True if the progress line can be redrawn: on a terminal, unless the environment says otherwise.

    Like rich, this reads the variables TTY_COMPATIBLE and FORCE_COLOR.
    """
    compatible, color = os.environ.get("TTY_COMPATIBLE"), os.environ.get("FORCE_COLOR")
    if compatible in ("0", "1"):
        return compatible == "1"
    return file.isatty() if color is None else color != ""


def render(snapshot: Snapshot, sent_rate: float, delivered_rate: float) -> list[tuple[str, str]]:
    """Return the progress line as (text, rich style) pieces; rates are per second."""
    left = (
        f"{snapshot.left_s:4.0f} s left"
        if snapshot.left_s is not None
        else f"{snapshot.elapsed_s:4.0f} s     "
    )
    pieces = [(f"{snapshot.phase:<8}", "bold cyan"), (left, "")]
    if snapshot.phase in ("starting", "ramp", "ready"):
        pieces.append((f"  connected {snapshot.connected:,}/{snapshot.clients:,}", ""))
        pieces.append((f"  ready {snapshot.ready:,}/{snapshot.subscriptions:,}", ""))
    else:
        pieces.append((f"  sent {sent_rate:,.0f}/s  delivered {delivered_rate:,.0f}/s", ""))
        pieces.append((f"  p99 {text.duration(snapshot.recent_p99_ns)}", ""))
        if snapshot.connected < snapshot.clients and snapshot.phase != "finishing":
            pieces.append((f"  connected {snapshot.connected:,}/{snapshot.clients:,}", "yellow"))
    if snapshot.complaint:
        complaint = "".join(c if c.isprintable() else "?" for c in snapshot.complaint)
        pieces.append((f"  {complaint}", "yellow"))
    return pieces
