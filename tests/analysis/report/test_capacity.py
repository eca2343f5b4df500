"""Test the plot of a capacity search (loss and latency over load): legible labels, and no loss below zero."""

from itertools import pairwise
from typing import Any

import pytest

from analysis.plots import style
from analysis.report.capacity import knee


def content(loads: list[float], losses: list[float]) -> dict[str, Any]:
    trials = [
        {
            "load": load,
            "p50_ns": 4_000_000 + n,
            "p99_ns": 9_000_000 * (n + 1),
            "loss": loss,
            "votes": ["passed"],
            "doubt": "",
        }
        for n, (load, loss) in enumerate(zip(loads, losses, strict=True))
    ]
    return {"trials": trials, "limits": [], "unit": " events/s"}


@pytest.mark.parametrize(
    ("loads", "labels"),
    [
        ([5, 10], ["5", "10"]),
        ([10, 20, 80, 95.8, 104.5, 149.3, 320], ["10", "20", "104.5", "149.3", "320"]),
        ([1_500], ["1,500"]),
        ([90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 110], ["90", "92", "94", "96", "98", "100", "110"]),
    ],
)
def test_the_axis_of_loads_has_the_tried_loads_that_have_room(loads: list[float], labels: list[str]) -> None:
    with style.styled():
        figure = knee(content(loads, [0.0] * len(loads)))
        figure.draw_without_rendering()
        shown = [label for label in figure.axes[1].get_xticklabels() if label.get_text()]
        assert [label.get_text() for label in shown] == labels
        extents = [label.get_window_extent() for label in shown]
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))


def test_latencies_have_units_and_losses_begin_at_zero() -> None:
    with style.styled():
        figure = knee(content([10, 20, 40], [0.0, 0.0, 0.0]))
        figure.draw_without_rendering()
        said = [label.get_text() for label in figure.axes[0].get_yticklabels() if label.get_text()]
        assert said
        assert all(label.endswith(" ms") for label in said)
        assert figure.axes[1].get_ylim() == (0, 1)
        assert knee(content([10, 20], [0.0, 0.5])).axes[1].get_ylim() == (0, 60)


def test_a_search_without_trials_is_drawn() -> None:
    assert len(knee(content([], [])).axes) == 2
