"""Draw the pictures of docs/load-curves.md from the examples on that page.

Run this script after changing an example or the way in which schedules are made. In a picture, the line is the curve,
and the bars are the number of requests in the schedule in each second.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import numpy as np
from matplotlib.ticker import FuncFormatter

from analysis.plots import style
from loadgen.resolve import Clients
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario

HERE = Path(__file__).parent
PAGE = HERE.parent / "load-curves.md"
_EXAMPLE = re.compile(
    r"```yaml\n(?P<yaml>profile:.*?)```\n+!\[(?P<title>[^\]]+)\]\((?P<picture>[^)]+)\)", re.DOTALL
)
_SCENARIO = """\
version: 1
clients:
  readers: {count: 1, subscribe: "/default/a"}
  writers:
    count: 4
    publish:
      channel: "/default/a"
      rate: 100/s
"""
_DEFAULT_MEASURE = "60s"


def examples() -> Iterator[tuple[str, Path, str]]:
    """Yield (title, picture, YAML of the profile) of each example in docs/load-curves.md."""
    for found in _EXAMPLE.finditer(PAGE.read_text(encoding="utf-8")):
        yield found["title"], PAGE.parent / found["picture"], found["yaml"]


def scenario_of(profile: str, folder: Path) -> Scenario:
    """Return a scenario with the profile, read from a temporary file in ``folder``, which must contain rates.csv."""
    path = folder / "example.yaml"
    path.write_text(_SCENARIO + indent(profile, " " * 6), encoding="utf-8")
    try:
        scenario = load(str(path))
        publish = scenario.clients["writers"].publish
        assert publish is not None
        if publish.curve_length_ns is None:
            return load(str(path), {"phases.measure": _DEFAULT_MEASURE})
        return scenario
    finally:
        path.unlink()


def draw(title: str, picture: Path, scenario: Scenario) -> None:
    """Draw one example."""
    publish = scenario.clients["writers"].publish
    assert publish is not None
    warmup_ns, measure_ns = scenario.phases.warmup_ns, scenario.phases.measure_ns
    plan = Clients(resolve(scenario))
    due = [
        offset - warmup_ns
        for number in range(1, 5)
        for offset in plan.client(number).publish.offsets_ns()  # type: ignore[union-attr]
    ]
    edges_s = np.arange(-(warmup_ns // 10**9), -(-measure_ns // 10**9) + 1)
    counts, _ = np.histogram(np.array(due) / 1e9, edges_s)
    points = publish.curve(measure_ns)
    at_s = [edges_s[0], *(point.at_ns / 1e9 for point in points), edges_s[-1]]
    loads = [points[0].load, *(point.load for point in points), points[-1].load]
    with style.styled():
        figure, (axes,) = style.new_figure(1, 2.2)
        axes.bar(
            edges_s[:-1], counts, width=0.9, align="edge", color=style.SKY, alpha=0.6, label="due in a second"
        )
        axes.plot(at_s, np.array(loads) * 100, color=style.VERMILION, label="the curve")
        axes.axvspan(edges_s[0], 0, color=style.INK, alpha=0.12, linewidth=0)
        axes.set_xlim(edges_s[0], measure_ns / 1e9)
        axes.set_ylim(0, max(loads) * 100 * 1.35)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_xlabel("seconds of the measure phase; shaded: the warm-up")
        axes.set_title(title, pad=6)
        axes.legend(loc="upper left", ncols=2)
        figure.savefig(picture, dpi=80, facecolor="white", metadata={"Software": None})


def main() -> None:
    """Draw all."""
    for title, picture, profile in examples():
        draw(title, picture, scenario_of(profile, HERE))
        print(picture)


if __name__ == "__main__":
    main()
