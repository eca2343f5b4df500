"""Growth of cost with the amount of work, one axis at a time: tables, plots, and a verdict for each axis.

    python benchmarks/growth                        all axes, into results/growth
    python benchmarks/growth --quick --only payload

The receiving axes keep the total rate of deliveries and vary the number of connections, channels or subscriptions per
connection, or the size of an event. The idle cost of the process is subtracted. The starting axes time work that is
done once, before or after a run. For each measure, total cost ~ n^k is fitted by least squares on logarithmic scales.
The exponent k is 1 if each of the n things costs the same, whatever n is. Exits with 1 if a cost grows faster than
linearly.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parents[1]), str(_HERE.parent)]

import matplotlib as mpl  # noqa: E402
from streams.process import StreamError  # noqa: E402

from growth.axis import TOLERANCE, Axis, markdown  # noqa: E402
from growth.receiving import channels, connections, payload, subscriptions  # noqa: E402
from growth.starting import planning, probing  # noqa: E402

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

AXES: dict[str, Callable[[bool], Axis]] = {
    "connections": connections,
    "channels": channels,
    "subscriptions": subscriptions,
    "payload": payload,
    "planning": planning,
    "probing": probing,
}


def plot(axis: Axis, path: Path) -> None:
    figure, places = plt.subplots(
        1, len(axis.measures), figsize=(4.5 * len(axis.measures), 3.4), squeeze=False, layout="constrained"
    )
    for place, (measure, axes) in enumerate(zip(axis.measures, places[0], strict=True)):
        known = [(n, values[place]) for n, values in axis.points if values[place] is not None]
        axes.plot([n for n, _ in known], [value for _, value in known], "o-")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(axis.n)
        axes.set_ylabel(f"{measure.name} ({measure.unit})")
        exponent = axis.exponent(place)
        axes.set_title("" if exponent is None else f"total ~ n^{exponent:.2f}")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Measure the axes and write the report; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three points an axis, half the time each")
    parser.add_argument("--only", choices=AXES, action="append", help="this axis, repeatable")
    parser.add_argument("--out", type=Path, default=Path("results/growth"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    texts, bad = ["# How cost grows", ""], []
    failed = False
    for name in options.only or AXES:
        try:
            axis = AXES[name](options.quick)
        except StreamError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        plot(axis, options.out / f"{name}.png")
        texts += [markdown(axis), f"![{name}]({name}.png)", ""]
        print(markdown(axis), flush=True)
        bad += [
            f"{name}: {measure.name}"
            for place, measure in enumerate(axis.measures)
            if (axis.exponent(place) or 0) > 1 + TOLERANCE
        ]
    report = options.out / "growth.md"
    report.write_text("\n".join(texts))
    print("worse than linear: " + ("; ".join(bad) if bad else "nothing"))
    print(report)
    return 1 if bad or failed else 0


if __name__ == "__main__":
    sys.exit(main())
