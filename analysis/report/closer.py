"""The report's closer look: the run's figures by channel, worker, group of clients and remote address."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from analysis import text
from analysis.figures.groups import Group
from analysis.figures.latencies import latencies
from analysis.loading.run import Run
from analysis.plots.spread import name_in_legend

_LATENCIES: Final = ("p50", "p90", "p99", "p99.9")


def looks(run: Run, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the breakdowns of the run (such as by channel), each with its name, column names, entries and plots.

    An entry (such as one channel) has a name, figures as text, and the name of its series in the plots. A breakdown
    with fewer than two members is left out, since the only member's figures would be those of the run.
    """
    found = latencies(run)
    ways = []
    if found is not None and summary["ledger"] is not None:
        total = max(1, summary["ledger"]["rows"])
        each = {worker["worker"]: worker for worker in summary["workers"]["each"]}
        ways = [
            _way(
                "channel",
                found.by_channel,
                lambda code: text.clean(str(found.channels[code])),
                total,
                ["by_channel"],
            ),
            _way(
                "group of clients",
                found.by_group,
                lambda code: text.clean(str(found.groups[code] or "without a group")),
                total,
                ["by_group"],
            ),
            _way(
                "worker",
                found.by_worker,
                lambda code: f"worker {code}",
                total,
                ["by_worker", "generator_health"],
                _of_worker(each),
            ),
        ]
    ways.append(_addresses(summary["addresses"]))
    return [way for way in ways if len(way["members"]) > 1]


def _way(
    name: str,
    groups: list[Group],
    name_of: Callable[[int], str],
    total: int,
    plots: list[str],
    further: tuple[list[str], Callable[[int | None], list[str]]] = ([], lambda _: []),
) -> dict[str, Any]:
    columns, cells = further
    return {
        "name": name,
        "columns": ["deliveries", "of all", *_LATENCIES, *columns],
        "plots": plots,
        "members": [
            {
                "name": f"{group.members:,} others together" if group.code is None else name_of(group.code),
                "series": name_in_legend(group, name_of),
                "figures": [
                    text.count(group.count),
                    text.ratio(group.count / total),
                    *map(text.duration, group.percentiles_ns),
                    *cells(group.code),
                ],
            }
            for group in groups
        ],
    }


def _of_worker(
    each: Mapping[int, Mapping[str, Any]],
) -> tuple[list[str], Callable[[int | None], list[str]]]:
    def cells(code: int | None) -> list[str]:
        worker = each.get(code) if code is not None else None
        if worker is None:
            return [text.UNKNOWN] * 4
        return [
            text.clean(worker["hostname"]),
            text.count(worker["clients"]),
            text.ratio(worker["cpu_mean"]),
            text.ratio(worker["cpu_worst"]),
        ]

    return ["host", "clients", "CPU, mean", "CPU, worst second"], cells


def _addresses(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "name": "target address",
        "columns": ["connects", "errors", "deliveries", *_LATENCIES, "publishes", "answer p99"],
        "plots": [],
        "members": [
            {
                "name": text.clean(entry["address"]),
                "series": None,
                "figures": [
                    text.count(entry["connections"]),
                    text.count(entry["errors"]),
                    text.count(entry["headline_ns"]["count"]),
                    *(text.duration(entry["headline_ns"][key]) for key in ("p50", "p90", "p99", "p999")),
                    text.count(entry["requests"]),
                    text.duration(entry["answer_ns"]["p99"]),
                ],
            }
            for entry in (found["each"] if found is not None and found["count"] > 1 else ())
        ],
    }
