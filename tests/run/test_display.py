"""Test the progress line: where it is drawn, and its text."""

import dataclasses
import io
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from loadgen.run.display import NoDisplay, ProgressDisplay, display_of, draws, render
from loadgen.run.master.progress import Snapshot


class _Terminal(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "compatible", "color"),
    list(product((True, False), (None, "", "0", "1", "yes"), (None, "", "0", "1"))),
)
def test_a_line_is_drawn_where_rich_would(
    terminal: bool, compatible: str | None, color: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TTY_COMPATIBLE", compatible), ("FORCE_COLOR", color)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    file = _Terminal(terminal)
    assert draws(file) == Console(file=file).is_terminal


def _snapshot(phase: str, connected: int = 40, complaint: str | None = None) -> Snapshot:
    return Snapshot(
        phase=phase,
        elapsed_s=3.2,
        left_s=None if phase == "ramp" else 7.0,
        clients=43,
        connected=connected,
        subscriptions=40,
        ready=12,
        sent=0,
        accepted=0,
        deliveries=0,
        recent_p99_ns=1_234_567,
        complaint=complaint,
    )


def _text(snapshot: Snapshot) -> str:
    return "".join(text for text, _ in render(snapshot, 150.4, 6_000.6))


def test_before_the_load_it_counts_clients() -> None:
    assert _text(_snapshot("ramp")) == "ramp       3 s       connected 40/43  ready 12/40"


def test_under_load_it_shows_rates_and_who_is_missing() -> None:
    assert (
        _text(_snapshot("measure", 43)) == "measure    7 s left  sent 150/s  delivered 6,001/s  p99 1.23 ms"
    )
    pieces = render(_snapshot("measure"), 0, 0)
    assert pieces[-1] == ("  connected 40/43", "yellow")


@pytest.mark.parametrize(
    ("p99_ns", "shown"),
    [(557_836_211, "558 ms"), (1_190_000_000, "1.19 s"), (83_000, "83.0 µs"), (None, "–")],
)
def test_a_latency_has_three_digits_and_its_unit(p99_ns: int | None, shown: str) -> None:
    snapshot = dataclasses.replace(_snapshot("measure", 43), recent_p99_ns=p99_ns)
    assert _text(snapshot).endswith(f"  p99 {shown}")


def test_control_characters_of_a_complaint_are_not_shown() -> None:
    assert _text(_snapshot("measure", 43, "refused\x1b[2J\n!")).endswith("  refused?[2J?!")


@pytest.mark.parametrize(
    ("quiet", "progress", "kind"),
    [
        (False, "auto", ProgressDisplay),
        (False, "plain", ProgressDisplay),
        (False, "none", NoDisplay),
        (True, "auto", NoDisplay),
        (True, "plain", NoDisplay),
    ],
)
def test_the_options_choose_the_display(quiet: bool, progress: str, kind: type) -> None:
    coordinator: Any = object()
    options = SimpleNamespace(quiet=quiet, progress=progress, progress_interval=1.0)
    assert type(display_of(coordinator, options)) is kind
