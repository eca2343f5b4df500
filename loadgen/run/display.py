"""The live progress line."""

import sys
import time

import gevent
from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.console import drawing
from loadgen.run.coordinator import Coordinator, Snapshot

_LIVE_INTERVAL_S = 0.25
_PLAIN_INTERVAL_S = 5.0


class ProgressDisplay:
    """Redraws one line on a terminal; prints a line now and then where the output is a file or a CI log."""

    def __init__(self, coordinator: Coordinator, console: Console | None = None) -> None:
        self._coordinator = coordinator
        self._console = console or Console(file=drawing(sys.stderr), highlight=False)
        self._previous: tuple[float, int, int] | None = None
        self._rates = (0.0, 0.0)
        self._greenlet: gevent.Greenlet | None = None
        self._running = False

    def start(self) -> None:
        """Begin to show."""
        self._running = True
        self._greenlet = gevent.spawn(self._show_live if self._console.is_terminal else self._show_plain)

    def stop(self) -> None:
        """Show the last state and end."""
        self._running = False
        if self._greenlet is not None:
            self._greenlet.join(2)

    def _show_live(self) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while self._running:
                live.update(self._line(), refresh=True)
                gevent.sleep(_LIVE_INTERVAL_S)

    def _show_plain(self) -> None:
        shown_phase, shown_s = "", 0.0
        while self._running:
            snapshot = self._coordinator.snapshot()
            if snapshot.phase != shown_phase or time.monotonic() - shown_s >= _PLAIN_INTERVAL_S:
                shown_phase, shown_s = snapshot.phase, time.monotonic()
                self._console.print(self._line(), soft_wrap=True)
            gevent.sleep(_LIVE_INTERVAL_S)

    def _line(self) -> Text:
        snapshot = self._coordinator.snapshot()
        self._measure(snapshot)
        return render(snapshot, *self._rates)

    def _measure(self, snapshot: Snapshot) -> None:
        """Update the rates: over a second at least, so that they can be read."""
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


def render(snapshot: Snapshot, sent_rate: float, delivered_rate: float) -> Text:
    """Return the line of one moment."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{snapshot.phase:<8}", style="bold cyan")
    text.append(
        f"{snapshot.left_s:4.0f} s left"
        if snapshot.left_s is not None
        else f"{snapshot.elapsed_s:4.0f} s     "
    )
    if snapshot.phase in ("starting", "ramp", "ready"):
        text.append(f"  connected {snapshot.connected:,}/{snapshot.clients:,}")
        text.append(f"  ready {snapshot.ready:,}/{snapshot.subscriptions:,}")
    else:
        text.append(f"  sent {sent_rate:,.0f}/s  delivered {delivered_rate:,.0f}/s")
        p99 = f"{snapshot.recent_p99_ns / 1e6:.2f} ms" if snapshot.recent_p99_ns is not None else "–"
        text.append(f"  p99 {p99}")
        if snapshot.connected < snapshot.clients and snapshot.phase != "finishing":
            text.append(f"  connected {snapshot.connected:,}/{snapshot.clients:,}", style="yellow")
    if snapshot.complaint:
        text.append("  " + "".join(c if c.isprintable() else "?" for c in snapshot.complaint), style="yellow")
    return text
