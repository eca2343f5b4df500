"""Make the page on prices: the keys of the price file, and their values in the packaged price files."""

from decimal import Decimal
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
from loadgen.planning.services.files import FOLDER, NAMES, packaged
from loadgen.planning.services.models import Limit, Price, Service


def page() -> str:
    """Return the page."""
    known = load_prices()
    source = PACKAGED.relative_to(REPO).as_posix()
    return "\n".join(
        [
            head("Prices and quotas", f"`{source}`"),
            f"`loadgen plan`, `--max-cost` and the cost of a run use these prices of {known.service} in {known.region},"
            f" in US dollars. To use other prices, copy [the file](../../{source}), edit it and name it with `--prices"
            " FILE`. A value that is left out is shown as unknown. [What a load costs](../prices.md) explains the"
            " calculation. The prices of the other services, for `--services`, follow below.\n",
            f"The certainty of a figure is {', '.join(code(each) for each in get_args(Certainty))}.\n",
            "## Prices\n",
            _figures(known.prices, MoneyPrices),
            "## Operations\n",
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
            *(_service(packaged(name)) for name in NAMES if name != "appsync-events"),
        ]
    )


def _service(service: Service) -> str:
    """Return the section for a service other than AppSync Events, with the prices for `loadgen plan --services`."""
    prices = [
        *((name, _price(each), each) for name, each in service.prices.items()),
        *(
            (f"{name}: {plan.name}", "unknown" if plan.usd is None else f"${plan.usd:,g} a month", plan)
            for name, choice in service.plans.items()
            for plan in choice.choices
        ),
    ]
    quotas = [(name, _limit(each), each) for name, each in service.quotas.items()]
    parts = [
        f"## {service.title}\n",
        f"`{service.service}` for [`--services`](../services-prices.md), from"
        f" `{(FOLDER / service.service).relative_to(REPO).as_posix()}.yaml`, region: {service.region}.\n",
        table(
            ("price or quota", "value", "certainty", "source", "note"),
            [(code(name), value, each.certainty, *_said(each)) for name, value, each in (*prices, *quotas)],
        ),
    ]
    return "\n".join(parts)


def _price(price: Price) -> str:
    per = "" if price.per == 1 else f" for {price.per:,.0f}"
    tiers = [
        (_dollars(tier.usd) + per) + (" above" if tier.up_to is None else f", up to {tier.up_to:,.0f}")
        for tier in price.tiers
    ]
    return "; ".join(tiers) or _dollars(price.usd) + per


def _dollars(usd: float | None) -> str:
    return "unknown" if usd is None else f"${Decimal(repr(usd)):,f}"


def _limit(limit: Limit) -> str:
    if limit.least is None or limit.most is None:
        return "–"
    return (
        _number(limit.least)
        if limit.least == limit.most
        else f"{_number(limit.least)} – {_number(limit.most)}"
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
