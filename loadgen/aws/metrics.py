"""Fetch the CloudWatch metrics of a run and save them in the run folder as `cloudwatch.json`.

Names and dimensions of the metrics come from AWS's page on the metrics of Event APIs. The page lists API id and
namespace as dimensions of handler and real-time metrics, but does not say whether a metric always has both. So each
such metric is requested once for the whole API and once for each namespace of the run, and
`analysis.figures.cloudwatch` uses the series that have points.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.figures import cloudwatch
from analysis.loading.run import Run
from analysis.record import files
from loadgen.aws.access import Access, AwsError, told
from loadgen.exits import ExitCode

METRICS_NAMESPACE: Final = "AWS/AppSync"
#: Maximum number of queries in one GetMetricData request.
_QUERIES_MAX: Final = 500
_COUNTED: Final = ("Sum",)
_SPREAD: Final = ("Sum", "SampleCount", "Maximum")
_HTTP: Final = {
    **dict.fromkeys(("4XXError", "5XXError", "Requests", "TokensConsumed"), _COUNTED),
    "Latency": (*_SPREAD, "Minimum", "p50", "p99"),
}
_OUTCOMES: Final = ("Success", "ClientError", "ServerError")
_REALTIME: Final = {
    **dict.fromkeys(
        (
            "SuccessfulEvents",
            "FailedEvents",
            "DroppedEvents",
            "PublishedHandlerInvocations",
            "SubscribeHandlerInvocations",
            "ConnectRequests",
            *(
                f"{what}{outcome}"
                for what in ("Connect", "Disconnect", "Subscribe", "Unsubscribe", "Publish", "BroadcastEvent")
                for outcome in _OUTCOMES
            ),
            "ActiveConnections",
            "ActiveSubscriptions",
            "InboundMessages",
            "OutboundMessages",
            "InboundMessageDelayed",
            "InboundMessageDropped",
        ),
        _COUNTED,
    ),
    **dict.fromkeys(("BroadcastEventSize", "ConnectionDuration"), _SPREAD),
}
#: For this many seconds after the end of a run, missing metrics may still come, and `--wait` keeps polling.
PATIENCE_S: Final = 600.0
#: Seconds to wait before the first request: metrics appear one to three minutes late (secondary source).
LAG_S: Final = 180.0
_POLL_S: Final = 30.0


class NotThereYetError(Exception):
    """CloudWatch has no metrics of the requested time yet but may have them later; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """The API, region, namespaces and time window to fetch, in whole minutes, which is CloudWatch's resolution."""

    api_id: str
    region: str
    namespaces: tuple[str, ...]
    start_ns: int
    end_ns: int


def source_of(run: Run, access: Access, api_id: str | None = None) -> tuple[Source, Any]:
    """Return the source of a run's metrics, and a boto3 session for its region.

    Without ``api_id``, the id comes from the run's manifest, or else from AppSync by the target's host.

    Raises:
        AwsError: the run's target was not AWS, or no API has the target's host.
    """
    target = run.manifest["target"]
    recorded = target.get("aws") or {}
    host = urlsplit(str(target.get("http_url") or "")).hostname or "another service's"
    region = access.region or recorded.get("region") or cloudwatch.region_of(host)
    if target["embedded"] or (api_id is None and region is None):
        raise AwsError(
            f"{run.path} was not run against AWS (its target is {host}): CloudWatch knows nothing of it; for an API"
            " under a domain of its own give --api-id and --region",
            ExitCode.USAGE,
        )
    session = Access(access.profile, region).session()
    api_id = api_id or recorded.get("api_id") or _api_of(session, host)
    start_ns, end_ns = cloudwatch.minutes_of(run)
    return Source(api_id, str(session.region_name), cloudwatch.namespaces_of(run), start_ns, end_ns), session


def _api_of(session: Any, host: str) -> str:
    """Return the id of the API that has the host name ``host``; raises AwsError if there is none."""
    asked: dict[str, Any] = {}
    with told("find the API of the run's target"):
        client = session.client("appsync")
        while True:
            answer = client.list_apis(**asked)
            for api in answer.get("apis", ()):
                if host in (api.get("dns") or {}).values():
                    return str(api["apiId"])
            if not answer.get("nextToken"):
                break
            asked["nextToken"] = answer["nextToken"]
    raise AwsError(
        f"these credentials see no Event API with the host {host} in {session.region_name}: give its id with --api-id,"
        " or another profile",
        ExitCode.USAGE,
    )


def fetch(client: Any, source: Source, now_ns: int) -> dict[str, Any]:
    """Fetch all metrics of a time window from CloudWatch; return the content of `cloudwatch.json`.

    Raises:
        AwsError: CloudWatch refuses or cannot be reached.
    """
    asked = list(_asked(source.namespaces))
    series: list[dict[str, Any]] = [
        {"metric": metric, "statistic": statistic, "namespace": namespace, "times_ns": [], "values": []}
        for metric, statistic, namespace in asked
    ]
    incomplete: set[int] = set()
    for first in range(0, len(asked), _QUERIES_MAX):
        numbers = range(first, min(first + _QUERIES_MAX, len(asked)))
        for result in _results(client, source, [(n, *asked[n]) for n in numbers]):
            number = int(result["Id"].removeprefix("m"))
            # A later page may complete a result that an earlier one left partial.
            (incomplete.discard if result.get("StatusCode", "Complete") == "Complete" else incomplete.add)(
                number
            )
            series[number]["times_ns"] += [
                round(at.timestamp()) * 1_000_000_000 for at in result.get("Timestamps", ())
            ]
            series[number]["values"] += list(result.get("Values", ()))
    return {
        "format": cloudwatch.FORMAT,
        "api_id": source.api_id,
        "region": source.region,
        "start_ns": source.start_ns,
        "end_ns": source.end_ns,
        "period_ns": cloudwatch.MINUTE_NS,
        "fetched_ns": now_ns,
        "incomplete": sorted({asked[number][0] for number in incomplete}),
        "series": series,
    }


def _asked(namespaces: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield each (metric, statistic, namespace) to request; the namespace is None for the whole API."""
    for group, places in ((_HTTP, (None,)), (_REALTIME, (None, *namespaces))):
        for metric, statistics in group.items():
            for namespace in places:
                for statistic in statistics:
                    yield metric, statistic, namespace


def _results(
    client: Any, source: Source, queries: Sequence[tuple[int, str, str, str | None]]
) -> Iterator[dict[str, Any]]:
    request: dict[str, Any] = {
        "MetricDataQueries": [
            {
                "Id": f"m{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": METRICS_NAMESPACE,
                        "MetricName": metric,
                        "Dimensions": _dimensions(source.api_id, namespace),
                    },
                    "Period": cloudwatch.MINUTE_NS // 1_000_000_000,
                    "Stat": statistic,
                },
            }
            for number, metric, statistic, namespace in queries
        ],
        "StartTime": source.start_ns // 1_000_000_000,
        "EndTime": source.end_ns // 1_000_000_000,
        "ScanBy": "TimestampAscending",
    }
    while True:
        with told("read CloudWatch's metrics"):
            answer = client.get_metric_data(**request)
        yield from answer.get("MetricDataResults", ())
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def _dimensions(api_id: str, namespace: str | None) -> list[dict[str, str]]:
    found = [{"Name": "EventAPIId", "Value": api_id}]
    if namespace is not None:
        found.append({"Name": "ChannelNamespaceName", "Value": namespace})
    return found


def empty(content: dict[str, Any]) -> bool:
    """Return True if no series has a point."""
    return not any(series["values"] for series in content["series"])


def collect(
    client: Any,
    source: Source,
    wait: bool,
    say: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    clock_ns: Callable[[], int] = time.time_ns,
) -> dict[str, Any]:
    """Fetch the metrics of a time window.

    With ``wait``, let CloudWatch's lag pass first, then poll until two answers in a row are the same or `PATIENCE_S`
    has passed since the end of the window.

    Raises:
        NotThereYetError: no metrics yet, but they may still come.
        AwsError: CloudWatch refuses, or has no metrics although the window ended so long ago that none will come.
    """
    if wait and (rest_s := LAG_S - (clock_ns() - source.end_ns) / 1e9) > 0:
        say(f"waiting {rest_s:.0f} s for CloudWatch, whose metrics lag behind (Ctrl-C ends only the waiting)")
        sleep(rest_s)
    content = fetch(client, source, clock_ns())
    while wait and (clock_ns() - source.end_ns) / 1e9 < PATIENCE_S:
        sleep(_POLL_S)
        again = fetch(client, source, clock_ns())
        same, content = again["series"] == content["series"], again
        if same and not empty(content):
            break
    if not empty(content):
        return content
    age_s = (clock_ns() - source.end_ns) / 1e9
    if age_s < PATIENCE_S:
        raise NotThereYetError(
            f"not there yet: CloudWatch has nothing of the API {source.api_id} in that window so far; its metrics lag"
            " one to three minutes behind, so ask again in a while, or with --wait"
        )
    kept = "; points of one minute are kept for 15 days only" if age_s > 15 * 86_400 else ""
    raise AwsError(
        f"CloudWatch has nothing of the API {source.api_id} in {source.region} in the run's window{kept}; check the id"
        " and the region",
        ExitCode.INCONCLUSIVE,
    )


def keep(folder: Path, content: dict[str, Any]) -> Path:
    """Write `cloudwatch.json` atomically and return its path."""
    path = folder / cloudwatch.NAME
    files.replace(path, json.dumps(content, indent=1) + "\n")
    return path
