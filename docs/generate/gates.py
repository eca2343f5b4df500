"""The page on gates: the metrics that a gate may name, and the limits above which a run is degraded or invalid."""

from dataclasses import fields

from writing import attribute_docs, code, head, prose, table

from analysis import text
from analysis.gates.grammar import OPERATORS
from analysis.gates.metrics import DISTRIBUTIONS, NUMBERS, STATISTICS, Kind, find
from analysis.limits import LIMITS, Limits

_KINDS = {Kind.DURATION: "duration", Kind.SHARE: "share", Kind.COUNT: "count", Kind.RATE: "rate"}


def page() -> str:
    """Return the page."""
    operators = ", ".join(code(operator) for operator in OPERATORS)
    statistics = ", ".join(code(statistic) for statistic in STATISTICS)
    return "\n".join(
        [
            head("Gates and limits", "`analysis/gates` and `analysis/limits.py`"),
            "[Verdict and gates](../concepts/verdict.md) explains how a gate is decided.\n",
            "## Syntax\n",
            "```text\nMETRIC OPERATOR VALUE [over DURATION]\n```\n",
            f"Operators are {operators}. A duration or rate can't be compared with `==` or `!=`. With `over` the"
            " condition must hold in every window of that length (at least `1s`), counted from the start of the"
            " measurement.\n",
            "## Distributions\n",
            f"STATISTIC is {statistics}, or any percentile from `p0` to `p100`, as in `delivery.latency.p99.99`."
            " All are durations such as `150ms`.\n",
            table(
                ("metric", "distribution of", "`over`"),
                [
                    (code(f"{name}.STATISTIC"), prose(meaning), _over(f"{name}.p99"))
                    for name, meaning in DISTRIBUTIONS.items()
                ],
            ),
            "## Numbers\n",
            table(
                ("metric", "kind", "value", "meaning", "`over`"),
                [
                    (code(name), _KINDS[kind], kind.value, prose(meaning), _over(name))
                    for name, (kind, meaning) in NUMBERS.items()
                ],
            ),
            "## Limits of the verdict\n",
            "The limits that make a run *degraded* or *invalid* ([findings](../concepts/verdict.md#what-is-looked-at))."
            " In Python they are `analysis.limits.LIMITS`.\n",
            table(("limit", "value", "meaning"), _limits()),
        ]
    )


def _over(name: str) -> str:
    return "yes" if find(name).windowed else "no"


def _limits() -> list[tuple[str, str, str]]:
    docs, rows = attribute_docs(Limits), []
    for field in fields(Limits):
        value = getattr(LIMITS, field.name)
        shown = text.duration(value) if field.name.endswith("_ns") else f"{value:.3g}"
        rows.append((code(field.name), shown, prose(docs[field.name])))
    return rows
