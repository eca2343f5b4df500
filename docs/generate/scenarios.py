"""Generate the page on the catalogue of scenarios: each scenario's question, figures and file."""

from writing import REPO, anchor, head, prose, table

from loadgen.planning.catalogue import Portrait, portrait
from loadgen.resolve.loading import catalogue


def page() -> str:
    """Return the page."""
    found = [portrait(entry.name, entry.path) for entry in catalogue()]
    rows = [
        (
            f"[{each.scenario.name}](#{anchor(each.scenario.name)})",
            prose(each.question or each.scenario.description),
            f"{each.run.totals.clients:,}",
            _rate(each.events),
            _rate(each.deliveries),
            f"{each.seconds:,.0f} s",
        )
        for each in found
    ]
    parts = [
        head("The catalogue of scenarios", "`scenarios/*.yaml`"),
        "`loadgen scenarios` lists them in the terminal, `loadgen scenarios NAME` explains one and draws its load, and"
        " `loadgen run NAME` runs it. Rates are means over the measure phase, with the maximum for a rate that changes."
        " Deliveries are the expected ones. The duration excludes the time until subscriptions are ready, which depends"
        " on the target.\n",
        table(("scenario", "question", "clients", "events/s", "deliveries/s", "duration"), rows),
    ]
    for each in found:
        parts += [
            f"## {each.scenario.name}\n",
            prose(each.scenario.description) + "\n",
            f"```yaml\n{_text(each)}\n```\n",
        ]
    return "\n".join(parts)


def _text(each: Portrait) -> str:
    return (REPO / "scenarios" / each.path.name).read_text(encoding="utf-8").strip()


def _rate(rate: object) -> str:
    if rate is None:
        return "–"
    mean, peak = rate.mean, rate.peak  # type: ignore[attr-defined]
    shown = f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
    return shown if peak <= mean * (1 + 1e-9) else f"{shown}, at most {peak:,.0f}"
