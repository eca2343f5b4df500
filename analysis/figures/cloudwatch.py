"""Compare our counts with the service's own: CloudWatch's data in `cloudwatch.json` of the run folder.

CloudWatch counts by minute and by API, over all clients that used the API; our counts cover the whole record, all
phases. So the figures cover all minutes that the run touched. The minutes' sums are added up, and a mean is computed
from sum and sample count. Percentiles of minutes cannot be combined, so only their range is reported. A metric without
points is unknown, not zero: CloudWatch stores no point if nothing was counted, and none if the metric does not exist.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from analysis import text
from analysis.figures import echo
from analysis.figures.cost import counted_events
from analysis.loading import requests
from analysis.loading.run import ReadError, Run, codes, ints
from analysis.loading.slices import all_stretches

NAME = "cloudwatch.json"
FORMAT = 1
MINUTE_NS = 60_000_000_000
#: Figures are final this long after the last minute that they cover; earlier they may still grow.
SETTLED_NS = 5 * MINUTE_NS
#: Bytes that InboundMessages and OutboundMessages count as one message: AWS's page on metrics says 5 kB.
_UNIT_BYTES = 5_120
_AWS_HOST = re.compile(r"[a-z0-9]+\.appsync-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")

_OTHERS = "whatever else used the API in these minutes is in theirs"
_UNITS = "that an event counts one message per 5,120 bytes of its text is an assumption"


def region_of(host: str) -> str | None:
    """Return the AWS region in the host name of an Event API, or None if the host is not an Event API."""
    found = _AWS_HOST.fullmatch(host)
    return found["region"] if found else None


def minutes_of(run: Run) -> tuple[int, int]:
    """Return start and end, in ns, of the whole minutes that a run touched.

    Raises:
        ReadError: the run has no phase.
    """
    edges = [edge for phase in run.phases.values() for edge in phase if edge is not None]
    if window := run.measure:
        edges.append(window.end_ns)
    if not edges:
        raise ReadError(f"{run.path} has no phase on record: there is nothing to compare")
    start_ns = min(edges)
    # Connections are closed after the last phase. So if a phase ends exactly on a full minute, include the minute that
    # follows.
    return start_ns // MINUTE_NS * MINUTE_NS, -(-(max(edges) + 1) // MINUTE_NS) * MINUTE_NS


def namespaces_of(run: Run) -> tuple[str, ...]:
    """Return the channel namespaces that a run used, sorted."""
    found = set()
    for name in ("events", "subscriptions"):
        _, channels = codes(run.table(name, ("channel",)), "channel")
        found |= {channel.strip("/").partition("/")[0] for channel in channels if channel}
    return tuple(sorted(found - {"", "*"}))


class Metrics:
    """Metrics fetched from CloudWatch."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._series: dict[tuple[str, str], dict[str | None, dict[int, float]]] = {}
        for each in content["series"]:
            points = dict(zip(each["times_ns"], each["values"], strict=True))
            if points:
                self._series.setdefault((each["metric"], each["statistic"]), {})[each["namespace"]] = points

    @property
    def settled(self) -> bool:
        """True if the metrics were fetched late enough to be final."""
        return bool(self.content["fetched_ns"] - self.content["end_ns"] >= SETTLED_NS)

    def points(self, metric: str, statistic: str = "Sum") -> dict[int, float]:
        """Return a metric's value by minute: the API's own metric, or else the sum over its channel namespaces."""
        by_place = self._series.get((metric, statistic), {})
        if None in by_place:
            return by_place[None]
        together: dict[int, float] = {}
        for points in by_place.values():
            for at_ns, value in points.items():
                together[at_ns] = together.get(at_ns, 0.0) + value
        return together

    def total(self, *metrics: str) -> float | None:
        """Return the sum of several metrics over all minutes, or None if none of them has a point."""
        found = [points for metric in metrics if (points := self.points(metric))]
        return sum(sum(points.values()) for points in found) if found else None

    def peak(self, metric: str) -> float | None:
        """Return the highest value that the metric had in any minute, or None if it has no point."""
        return max(self.points(metric).values(), default=None)

    def mean(self, metric: str) -> float | None:
        """Return the mean of all samples (sum divided by count), or None if there are none."""
        number = sum(self.points(metric, "SampleCount").values())
        return sum(self.points(metric).values()) / number if number else None

    def samples(self, metric: str) -> float | None:
        """Return the number of samples, or None if there are none."""
        return sum(self.points(metric, "SampleCount").values()) or None

    def extent(self, metric: str, statistic: str) -> tuple[float, float] | None:
        """Return the (lowest, highest) value of any minute, for a statistic that cannot be summed.

        The values are of the whole API, not of its namespaces. Returns None if there are no points.
        """
        points = self._series.get((metric, statistic), {}).get(None)
        return (min(points.values()), max(points.values())) if points else None


def read(run: Run) -> Metrics | None:
    """Return the metrics fetched for a run, or None if there are none.

    Raises:
        ReadError: the file cannot be read.
    """
    path = run.path / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError
        return Metrics(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ReadError(
            f"{path} cannot be read: remove it, or fetch it again with `loadgen aws metrics {run.path}`"
        ) from None


def beside(run: Run) -> dict[str, Any] | None:
    """Return the summary's section `cloudwatch`, or None if no metrics were fetched."""
    metrics = read(run)
    if metrics is None:
        return None
    content = metrics.content
    return {
        **{
            name: content[name]
            for name in ("api_id", "region", "start_ns", "end_ns", "fetched_ns", "incomplete")
        },
        "settled": metrics.settled,
        "rows": _rows(run, metrics),
        "alone": [
            {"name": name, "metric": metric, "value": of(metric)}
            for name, metric, of in (
                ("request tokens consumed", "TokensConsumed", metrics.total),
                ("HTTP requests answered with 4xx", "4XXError", metrics.total),
                ("HTTP requests answered with 5xx", "5XXError", metrics.total),
                ("inbound messages delayed by a quota", "InboundMessageDelayed", metrics.total),
                ("inbound messages dropped by a quota", "InboundMessageDropped", metrics.total),
                ("handler: events broadcast", "SuccessfulEvents", metrics.total),
                ("handler: events failed", "FailedEvents", metrics.total),
                ("handler: events dropped", "DroppedEvents", metrics.total),
                ("connections, highest minute", "ActiveConnections", metrics.peak),
                ("subscriptions, highest minute", "ActiveSubscriptions", metrics.peak),
            )
        ],
        "latency_ms": {
            "samples": metrics.samples("Latency"),
            "mean": metrics.mean("Latency"),
            **{statistic: metrics.extent("Latency", statistic) for statistic in ("p50", "p99", "Maximum")},
        },
    }


def _rows(run: Run, metrics: Metrics) -> list[dict[str, Any]]:
    prices = run.manifest.get("prices") or {}
    unit_bytes = prices.get("message_unit_bytes") or _UNIT_BYTES
    published, delivered, _ = counted_events(run, unit_bytes)
    _, frames, _ = counted_events(run, 1 << 40)
    workers = run.manifest["workers"]
    probes, probe_deliveries, foreign = (
        _sum(worker.get(name) if worker["finished"] else None for worker in workers)
        for name in ("probes", "probe_deliveries", "foreign")
    )
    echoes = echo.counted(run)
    probes = _plus(probes, echoes["sent"])
    probe_deliveries = _plus(probe_deliveries, echoes["returned"])
    requests, accepted = _requests(run)
    connections = run.table("connections", ("acknowledged_ns",))
    connected = ints(connections, "acknowledged_ns") >= 0
    subscriptions = run.table("subscriptions", ("requested_ns", "acknowledged_ns"))
    subscribed = ints(subscriptions, "acknowledged_ns") >= 0
    asked = ints(subscriptions, "requested_ns") >= 0
    lost = "what AppSync sent and never reached us is in theirs alone"
    check = "each run logs in once more than it has on record, to check its target"
    what = "it is not known if it counts requests or events"
    rows = (
        ("connections accepted", int(connected.sum()) + echoes["connects"], ("ConnectSuccess",), (check,)),
        (
            "connections refused or failed",
            int((~connected).sum()),
            ("ConnectClientError", "ConnectServerError"),
            ("what never reached AppSync is in ours alone",),
        ),
        ("subscriptions accepted", int(subscribed.sum()) + echoes["subscribes"], ("SubscribeSuccess",), ()),
        (
            "subscriptions refused or not answered",
            int((asked & ~subscribed).sum()),
            ("SubscribeClientError", "SubscribeServerError"),
            ("an answer that never came is in ours alone",),
        ),
        ("publish requests accepted", _plus(accepted, probes), ("PublishSuccess",), (what,)),
        (
            "publish requests refused or not answered",
            requests - accepted,
            ("PublishClientError", "PublishServerError"),
            (what, "an answer that never came is in ours alone"),
        ),
        ("events published, in 5 kB", _plus(published, probes), ("InboundMessages",), (_UNITS,)),
        (
            "events delivered, in 5 kB",
            _plus(delivered, probe_deliveries, foreign),
            ("OutboundMessages",),
            (_UNITS, lost),
        ),
        (
            "events delivered",
            _plus(frames, probe_deliveries, foreign),
            ("BroadcastEventSuccess",),
            ("it is not known if it counts deliveries or broadcasts", lost),
        ),
    )
    return [_row(name, ours, names, metrics.total(*names), reasons) for name, ours, names, reasons in rows]


def _row(
    name: str, ours: int | None, names: tuple[str, ...], theirs: float | None, reasons: Iterable[str]
) -> dict[str, Any]:
    difference = None if ours is None or theirs is None else theirs - ours
    return {
        "name": name,
        "metric": " + ".join(names),
        "ours": ours,
        "theirs": theirs,
        "difference": difference,
        "share": difference / ours if difference is not None and ours else None,
        "reasons": _reasons(ours, difference, reasons),
    }


def _reasons(ours: int | None, difference: float | None, reasons: Iterable[str]) -> list[str]:
    """Return possible reasons why our count differs from CloudWatch's, or the reason why our count is unknown."""
    if ours is None:
        return [
            "ours is not known: a worker's record broke off or is an older one, and its probes are not counted"
        ]
    return [*reasons, _OTHERS] if difference else []


def _requests(run: Run) -> tuple[int, int]:
    """Return the number of publish requests sent, and of those with at least one accepted event."""
    found = [0, 0]
    for stretch in all_stretches(run):
        table = run.table("events", (*requests.COLUMNS, "sent_ns"), stretch)
        code, names = codes(table, "status")
        sent = ints(table, "sent_ns") >= 0
        taken = np.zeros(len(sent), dtype=bool)
        if "accepted" in names:
            taken = sent & (code == names.index("accepted"))
        for place, rows in enumerate((sent, taken)):
            found[place] += len(requests.request_rows(table.filter(pa.array(rows))))
    return found[0], found[1]


def _plus(*numbers: int | None) -> int | None:
    return _sum(numbers)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum, or None if any number is None (unknown)."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def when(found: dict[str, Any]) -> str:
    """Return the time that the metrics cover and the time of fetching, as part of a sentence."""
    from datetime import UTC, datetime

    def shown(at_ns: int) -> str:
        return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")

    said = f"{shown(found['start_ns'])} to {shown(found['end_ns'])[-5:]} UTC, fetched {shown(found['fetched_ns'])} UTC"
    if not found["settled"]:
        said += "; fetched soon after the run: figures may still grow"
    return said


def cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return four formatted cells: our count, CloudWatch's count, the difference, and its share of our count."""
    difference = row["difference"]
    said = (
        text.UNKNOWN if difference is None else f"{difference:+,.0f}".replace("-", "−") if difference else "0"
    )
    share = row["share"]
    sign = "" if not share else "+" if share > 0 else "−"
    shown = text.UNKNOWN if share is None else f"{sign}{text.ratio(abs(share))}"
    return text.count(row["ours"]), text.count(row["theirs"]), said, shown


def latency(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of (name, our response time to a publish, CloudWatch's), as text.

    CloudWatch measures the response time within AppSync, for HTTP only, and by the minute.
    """
    found = summary["cloudwatch"]["latency_ms"]
    ours = (summary["publish"] or {}).get("answer_ns") or {}

    def theirs(value: float | None) -> str:
        return text.duration(None if value is None else value * 1e6)

    def extent(of: list[float] | tuple[float, float] | None, show: Callable[[float], str]) -> str:
        if of is None:
            return text.UNKNOWN
        low, high = (show(value) for value in of)
        return low if low == high else f"{low} to {high}"

    return [
        ("requests", text.count(ours.get("count")), text.count(found["samples"])),
        ("mean", text.duration(ours.get("mean")), theirs(found["mean"])),
        *(
            (name, text.duration(ours.get(key)), extent(found[statistic], theirs))
            for name, key, statistic in (
                ("p50", "p50", "p50"),
                ("p99", "p99", "p99"),
                ("max", "max", "Maximum"),
            )
        ),
    ]
