"""The report as one self-contained HTML file."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from markupsafe import Markup

from analysis import plots, text
from analysis.figures import addresses, cloudwatch, echo, errors
from analysis.loading.run import Run
from analysis.plots import style
from analysis.plots.plain import panels
from analysis.report import closer, interactive, outputs, reactions
from analysis.report.notes import notes
from analysis.report.terminal import DROP_COLUMNS, STEP_COLUMNS, drop_rows, latency_table, step_rows
from analysis.templating import template
from analysis.verdict import checks

#: At most this many entries of a list in the scenario are shown.
_LIST_SHOWN = 30
_PHASE_NAMES = {
    "ramp": "connect and subscribe",
    "ready": "prove every subscription ready",
    "warmup": "publish, not counted",
    "measure": "publish, counted",
    "drain": "wait for what is under way",
}
#: Labels of the cost table's rows, by operation; a row of zero operations is left out.
_COST_NAMES = {
    "publish": "events published",
    "delivery": "events delivered",
    "foreign": "events of others delivered",
    "probe_publish": "readiness probes and echoes published",
    "probe_delivery": "readiness probes and echoes delivered",
    "connect": "connects",
    "subscribe": "subscribes",
    "handler": "handler invocations",
    "keepalive": "keep-alives",
}


def render(run: Run, summary: dict[str, Any], *, drawn: bool = True, scripts: bool = True) -> str:
    """Return the run's report as HTML; the template engine escapes all text from the run.

    Without ``drawn`` only the titles of the plots appear, and no figure is drawn. Without ``scripts`` there are no
    interactive charts, so that the page can be printed.
    """
    kind, sentence = text.verdict(summary)
    figures, charts = _figures(run, drawn=drawn)
    looks = closer.looks(run, summary) if scripts else []
    live = interactive.of(run, charts, looks) if charts and scripts else None
    wrong = errors.rows(run)
    return template("report.html", trim=True).render(
        summary=summary,
        manifest=run.manifest,
        kind=kind,
        sentence=sentence,
        notes=notes(summary),
        gates=_gates(summary["gates"]),
        latencies=latency_table(summary) if summary["ledger"] is not None else [],
        step_columns=STEP_COLUMNS,
        steps=step_rows(summary),
        drop_columns=DROP_COLUMNS,
        drops=drop_rows(summary) if summary["recovery"] is not None else [],
        figures=figures,
        interactive=live,
        policy=interactive.POLICY if live is None else live.policy,
        looks=looks,
        errors=wrong,
        error_columns=errors.COLUMNS,
        paper=not scripts,
        last_messages=errors.last_messages(run),
        contents=_contents(summary, figures, looks, wrong),
        started=text.utc(run.manifest["created_ns"]),
        phase_names=_PHASE_NAMES,
        checks_sentence=checks.sentence(summary),
        cost_sentence=text.cost(summary),
        theirs=_theirs(summary),
        cost_names=_COST_NAMES,
        scenario=json.dumps(_shortened(run.manifest["scenario"]), indent=2, ensure_ascii=False),
        unknown=text.UNKNOWN,
        faults=json.dumps(run.manifest["target"].get("faults"), ensure_ascii=False),
        address_columns=addresses.COLUMNS,
        addresses=addresses.rows(summary["addresses"]),
        echo_columns=echo.COLUMNS,
        echoes=echo.rows(summary["echo"]) if "echo" in summary else [],
        reactions=reactions.rows(summary),
        own_clocks=any(not clock["shared"] for clock in summary["clock"]["workers"]),
    )


def _contents(
    summary: Mapping[str, Any], figures: Sequence[Any], looks: Sequence[Any], wrong: Sequence[Any]
) -> list[tuple[str, str]]:
    """Return (anchor, name) of each section that the page has, in its order."""
    sections: tuple[tuple[str, str, object], ...] = (
        ("gates", "Gates", summary["gates"]),
        ("latency", "Latency", summary["ledger"]),
        ("reactions", "Reactions", reactions.rows(summary)),
        ("curves", "Curves", figures),
        ("errors", "Errors", wrong),
        ("ledger", "Ledger", summary["ledger"]),
        ("recovery", "Recovery", summary["recovery"]),
        ("cost", "Cost", summary["cost"]),
        ("cloudwatch", "CloudWatch", summary.get("cloudwatch")),
        ("phases", "Phases and connections", True),
        ("generator", "Generator", True),
        ("method", "How it was measured", True),
        ("run", "Run", True),
    )
    return [(anchor, name) for anchor, name, there in sections if there]


def _shortened(value: Any) -> Any:
    """Return JSON-like data with long lists shortened: a recorded load curve may have thousands of points."""
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    kept = [_shortened(each) for each in value[:_LIST_SHOWN]]
    return (
        kept if len(value) <= _LIST_SHOWN else [*kept, f"… {len(value) - _LIST_SHOWN:,} more: manifest.json"]
    )


def _theirs(summary: dict[str, Any]) -> dict[str, Any] | None:
    found = summary.get("cloudwatch")
    if found is None:
        return None
    return {
        "when": cloudwatch.when(found),
        "rows": [{**row, "cells": cloudwatch.cells(row)} for row in found["rows"]],
        "latency": cloudwatch.latency(summary),
    }


def _gates(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the gates; successive gates with the same remark, as in an invalid run, show it once."""
    found = []
    for _, alike in groupby(map(_gate, results), key=itemgetter("remark")):
        first, *others = alike
        found += [first | {"rows": 1 + len(others)}, *({**other, "rows": 0} for other in others)]
    return found


def _gate(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": text.clean(result["gate"]),
        "status": result["status"],
        "sign": outputs.SIGNS[result["status"]],
        "value": result["value"],
        "shown": outputs.shown(result),
        "margin": outputs.margin(result),
        "remark": outputs.remark(result),
    }


def _figures(run: Run, *, drawn: bool) -> tuple[list[tuple[str, str, Markup]], dict[str, Any]]:
    """Return (name, title, SVG) of each plot that has something to show, and the same plots as data, by name.

    Text in the SVG is drawn as shapes.
    """
    figures, charts = [], {}
    for plot in plots.ALL:
        name, title = plot.__name__, (plot.__doc__ or "").split("\n")[0]
        if not drawn:
            if style.has_something_to_show(plot, run):
                figures.append((name, title, Markup("")))
            continue
        with style.styled():
            figure = plot(run)
            if figure is not None:
                figures.append((name, title, Markup(style.to_svg(figure))))  # noqa: S704  shapes only, see style.py
                charts[name] = panels(figure)
    return figures, charts
