"""The price file: its keys, and what the one that comes with the program says."""

from typing import Any, get_args

from pydantic import BaseModel
from writing import REPO, attribute_docs, code, head, prose, table

from loadgen.planning.prices import (
    PACKAGED,
    Certainty,
    Countings,
    Metering,
    MoneyPrices,
    QuotaTable,
    load_prices,
)


def page() -> str:
    """Return the page."""
    known = load_prices()
    source = PACKAGED.relative_to(REPO).as_posix()
    return "\n".join(
        [
            head("Prices and quotas", f"`{source}`"),
            f"What `loadgen plan`, `--max-cost` and a run's cost reckon with: {known.service}, {known.region}, in US"
            f" dollars. Copy [the file](../../{source}), edit it and give it with `--prices FILE`. A value that is left"
            " out is not known, and is shown as such. [What a load costs](../prices.md) says what is reckoned from"
            " it.\n",
            f"How sure a figure is: {', '.join(code(each) for each in get_args(Certainty))}.\n",
            "## Prices\n",
            _figures(known.prices, MoneyPrices),
            "## What is an operation\n",
            table(
                ("key", "counts", "meaning", "certainty", "source", "note"),
                [
                    (code(name), code(each.counts), _meaning(Countings, name), each.certainty, *_said(each))
                    for name, each in known.operations
                ],
            ),
            "## Metering\n",
            _figures(known.metering, Metering),
            "## Quotas\n",
            table(
                ("key", "value", "adjustable", "code", "meaning", "certainty", "source", "note"),
                [
                    (
                        code(name),
                        _number(each.value),
                        {True: "yes", False: "no", None: "–"}[each.adjustable],
                        each.code or "–",
                        _meaning(QuotaTable, name),
                        each.certainty,
                        *_said(each),
                    )
                    for name, each in known.quotas
                ],
            ),
        ]
    )


def _figures(part: BaseModel, model: type[BaseModel]) -> str:
    return table(
        ("key", "value", "meaning", "certainty", "source", "note"),
        [
            (code(name), _number(each.value), _meaning(model, name), each.certainty, *_said(each))
            for name, each in part
        ],
    )


def _meaning(model: type[BaseModel], name: str) -> str:
    return prose(attribute_docs(model)[name])


def _said(each: Any) -> tuple[str, str]:
    when = f" ({each.as_of})" if each.as_of else ""
    return prose(each.source) + when, prose(each.note or "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,g}"
