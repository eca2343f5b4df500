"""Test the comparison with CloudWatch's counts, with stubbed answers: paging, delays, refusals, display."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

import analysis
from analysis.__main__ import write
from analysis.figures import cloudwatch
from analysis.verify.check import verify
from loadgen.aws import metrics
from loadgen.aws.access import Access, AwsError
from loadgen.aws.metrics import NotThereYetError, Source, collect, empty, fetch, keep, source_of
from loadgen.run.options import RunOptions
from tests.analysis.synthetic import (
    SECOND,
    T0,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)
from tests.aws.sessions import session

MINUTE = 60 * SECOND
START = T0 // MINUTE * MINUTE
AWS = {
    "http_url": "https://abc.appsync-api.eu-west-1.amazonaws.com/event",
    "ws_url": "wss://abc.appsync-realtime-api.eu-west-1.amazonaws.com/event/realtime",
    "embedded": False,
    "auth": "api-key",
    "aws": {"stack": "load", "region": "eu-west-1", "api_id": "api1", "namespaces": ["default"]},
}
SOURCE = Source("api1", "eu-west-1", ("default",), START, START + 2 * MINUTE)
Answer = dict[tuple[str, str, str | None], dict[int, float]]


def stub(service: str = "cloudwatch") -> tuple[Any, Stubber]:
    ours = session()
    ours.set_credentials("testing", "testing")
    made = ours.create_client(service, region_name="eu-west-1")
    return made, Stubber(made)


def asked() -> list[tuple[str, str, str | None]]:
    return list(metrics._asked(SOURCE.namespaces))


def result(number: int, points: dict[int, float], status: str = "Complete") -> dict[str, Any]:
    return {
        "Id": f"m{number}",
        "Label": "x",
        "Timestamps": [datetime.fromtimestamp((START + minute * MINUTE) / SECOND, UTC) for minute in points],
        "Values": list(points.values()),
        "StatusCode": status,
    }


def answer(found: Answer) -> dict[str, Any]:
    return {"MetricDataResults": [result(n, found.get(key, {})) for n, key in enumerate(asked())]}


def fetched(found: Answer, later_s: int = 3600) -> dict[str, Any]:
    made, stubber = stub()
    stubber.add_response("get_metric_data", answer(found))
    with stubber:
        return fetch(made, SOURCE, SOURCE.end_ns + later_s * SECOND)


def test_it_asks_for_whole_minutes_of_one_api_and_its_namespaces() -> None:
    made, stubber = stub()
    stubber.add_response(
        "get_metric_data",
        answer({}),
        {
            "MetricDataQueries": ANY,
            "StartTime": START // SECOND,
            "EndTime": START // SECOND + 120,
            "ScanBy": "TimestampAscending",
        },
    )
    queries: list[dict[str, Any]] = []
    made.meta.events.register(
        "before-parameter-build.cloudwatch.GetMetricData",
        lambda params, **_: queries.extend(params["MetricDataQueries"]),
    )
    with stubber:
        assert empty(fetch(made, SOURCE, 0))
    by_name: dict[str, list[Any]] = {}
    for query in queries:
        stat = query["MetricStat"]
        assert (stat["Metric"]["Namespace"], stat["Period"]) == ("AWS/AppSync", 60)
        by_name.setdefault(stat["Metric"]["MetricName"], []).append(stat["Metric"]["Dimensions"])
    api = {"Name": "EventAPIId", "Value": "api1"}
    assert by_name["Requests"] == [[api]]
    assert by_name["OutboundMessages"] == [[api], [api, {"Name": "ChannelNamespaceName", "Value": "default"}]]
    assert len({query["Id"] for query in queries}) == len(queries) <= 500
    # The queries include metrics from AWS's list (docs/reference/appsync-events.md, section 7).
    assert {"4XXError", "5XXError", "Latency", "TokensConsumed", "FailedEvents", "BroadcastEventSize"} <= set(
        by_name
    )
    assert {f"{what}{how}" for what in ("Connect", "Subscribe", "Publish", "BroadcastEvent")
            for how in ("Success", "ClientError", "ServerError")} <= set(by_name)  # fmt: skip


def test_pages_are_put_together_and_a_part_is_called_one() -> None:
    made, stubber = stub()
    inbound = asked().index(("InboundMessages", "Sum", None))
    outbound = asked().index(("OutboundMessages", "Sum", None))
    first = [result(inbound, {0: 5.0}, "PartialData"), result(outbound, {0: 7.0}, "PartialData")]
    stubber.add_response("get_metric_data", {"MetricDataResults": first, "NextToken": "more"})
    stubber.add_response(
        "get_metric_data",
        {"MetricDataResults": [result(inbound, {1: 6.0})]},
        {"MetricDataQueries": ANY, "StartTime": ANY, "EndTime": ANY, "ScanBy": ANY, "NextToken": "more"},
    )
    with stubber:
        content = fetch(made, SOURCE, 1)
    stubber.assert_no_pending_responses()
    series = content["series"][inbound]
    assert (series["times_ns"], series["values"]) == ([START, START + MINUTE], [5.0, 6.0])
    assert content["incomplete"] == ["OutboundMessages"]


def test_more_queries_than_one_request_takes() -> None:
    source = Source("api1", "eu-west-1", tuple(f"n{n}" for n in range(40)), START, START + MINUTE)
    number = len(list(metrics._asked(source.namespaces)))
    assert number > 1000
    made, stubber = stub()
    sizes: list[int] = []
    made.meta.events.register(
        "before-parameter-build.cloudwatch.GetMetricData",
        lambda params, **_: sizes.append(len(params["MetricDataQueries"])),
    )
    for _ in range(-(-number // 500)):
        stubber.add_response("get_metric_data", {"MetricDataResults": []})
    with stubber:
        fetch(made, source, 1)
    assert sum(sizes) == number
    assert max(sizes) == 500


def test_nothing_yet_is_told_as_that_and_nothing_later_as_a_mistake() -> None:
    for later_s, error, said in (
        (30, NotThereYetError, "not there yet"),
        (3600, AwsError, "CloudWatch has nothing of the API api1 in eu-west-1"),
        (20 * 86_400, AwsError, "kept for 15 days only"),
    ):
        made, stubber = stub()
        stubber.add_response("get_metric_data", answer({}))
        with stubber, pytest.raises(error, match=said):
            collect(made, SOURCE, wait=False, clock_ns=lambda s=later_s: SOURCE.end_ns + s * SECOND)  # type: ignore[misc]


def test_waiting_ends_when_two_answers_agree() -> None:
    made, stubber = stub()
    key = ("InboundMessages", "Sum", None)
    for points in ({}, {0: 3.0}, {0: 3.0, 1: 4.0}, {0: 3.0, 1: 4.0}):
        stubber.add_response("get_metric_data", answer({key: points}))
    slept: list[float] = []
    now_ns = [SOURCE.end_ns + 60 * SECOND]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now_ns[0] += int(seconds * SECOND)

    with stubber:
        content = collect(made, SOURCE, True, sleep=sleep, clock_ns=lambda: now_ns[0])
    stubber.assert_no_pending_responses()
    assert slept == [120, 30, 30, 30]
    assert cloudwatch.Metrics(content).total("InboundMessages") == 7


def test_waiting_has_an_end() -> None:
    made, stubber = stub()
    for _ in range(16):
        stubber.add_response("get_metric_data", answer({}))
    now_ns = [SOURCE.end_ns]

    def sleep(seconds: float) -> None:
        now_ns[0] += int(seconds * SECOND)

    with stubber, pytest.raises(AwsError, match="CloudWatch has nothing"):
        collect(made, SOURCE, True, sleep=sleep, clock_ns=lambda: now_ns[0])


def test_a_missing_permission_is_one_sentence() -> None:
    made, stubber = stub()
    stubber.add_client_error("get_metric_data", "AccessDenied", "User: arn is not authorized to perform it")
    with stubber, pytest.raises(AwsError) as failed:
        fetch(made, SOURCE, 1)
    assert str(failed.value) == (
        "cannot read CloudWatch's metrics: these AWS credentials may not GetMetricData; ask for that right"
        " (User: arn is not authorized to perform it)"
    )
    assert failed.value.code == 4


# Whose metrics.


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def give(client: Any) -> None:
        class Session:
            region_name = "eu-west-1"

            def client(self, _: str) -> Any:
                return client

        monkeypatch.setattr(Access, "session", lambda self: Session())

    return give


def test_the_window_is_every_minute_that_the_run_touched(
    tmp_path: Path, sessions: Callable[[Any], None]
) -> None:
    sessions(None)
    phases = [
        {"name": "ramp", "start_ns": START + 59 * SECOND, "end_ns": START + 61 * SECOND},
        {"name": "drain", "start_ns": START + 61 * SECOND, "end_ns": START + 120 * SECOND},
    ]
    run = analysis.load(simple_run(tmp_path / "run", target=AWS, phases=phases))
    found, _ = source_of(run, Access())
    # The window ends one minute after the drain phase, because the run's last connections are closed in that minute.
    assert (found.start_ns, found.end_ns) == (START, START + 3 * MINUTE)
    assert (found.api_id, found.region, found.namespaces) == ("api1", "eu-west-1", ("default",))


def test_without_a_stack_on_record_appsync_is_asked_whose_host_it_is(
    tmp_path: Path, sessions: Callable[[Any], None]
) -> None:
    run = analysis.load(simple_run(tmp_path / "run", target={k: v for k, v in AWS.items() if k != "aws"}))
    made, stubber = stub("appsync")
    sessions(made)
    stubber.add_response("list_apis", {"apis": [{"apiId": "other", "dns": {"HTTP": "x"}}], "nextToken": "t"})
    mine = {"apiId": "mine", "dns": {"HTTP": "abc.appsync-api.eu-west-1.amazonaws.com", "REALTIME": "y"}}
    stubber.add_response("list_apis", {"apis": [mine]}, {"nextToken": "t"})
    stubber.add_response("list_apis", {"apis": []})
    with stubber:
        assert source_of(run, Access())[0].api_id == "mine"
        with pytest.raises(AwsError, match="no Event API with the host abc"):
            source_of(run, Access())


def test_a_run_at_home_has_no_metrics(tmp_path: Path) -> None:
    run = analysis.load(simple_run(tmp_path / "run"))
    with pytest.raises(AwsError, match="was not run against AWS"):
        source_of(run, Access())


# Beside ours.

SUM = "Sum"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """Write a run of two subscribers, five requests and ten events.

    One event counts as two messages of 5 kB, and one is refused.
    """
    events = [
        event(9, n, "/default/a", n * 10_000_000, "rejected" if n == 9 else "accepted", batch=n // 2,
              bytes=5_121 if n == 0 else 100)
        for n in range(10)
    ]  # fmt: skip
    subscriptions = [subscription(n, "/default/*", -1_000_000) for n in range(2)]
    subscriptions.append(subscription(2, "/default/*", None, acknowledged_ns=None, error="no"))
    rows = [delivery(e, s) for e in events[:9] for s in range(2)]
    folder = write_run(
        tmp_path / "run",
        {
            "events": events,
            "subscriptions": subscriptions,
            "deliveries": rows,
            "connections": [
                *(connection(n, opened_ns=T0) for n in range(3)),
                connection(3, error="refused", acknowledged_ns=None),
            ],
            "health": [{"time_ns": T0 + 2 * SECOND, "interval_ns": SECOND, "cpu_ns": 0, "lag_max_ns": 0, "gc_ns": 0}],
        },
        target=AWS,
        workers=[{"worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": True, "probes": 3,
                  "probe_deliveries": 6, "foreign": 0}],
    )  # fmt: skip
    yield folder
    shutil.rmtree(folder)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    found = cloudwatch.beside(analysis.load(folder))
    assert found is not None
    return {row["metric"]: row for row in found["rows"]}


def test_both_counts_stand_side_by_side(run: Path) -> None:
    keep(
        run,
        fetched(
            {
                ("ConnectSuccess", SUM, None): {0: 3, 1: 1},
                ("SubscribeSuccess", SUM, None): {0: 2},
                # CloudWatch has this metric for the whole API and also for each namespace: only one of the two may be
                # counted.
                ("PublishSuccess", SUM, None): {0: 8},
                ("PublishSuccess", SUM, "default"): {0: 8},
                # CloudWatch has this metric for namespaces only, so their sum is used for the API.
                ("InboundMessages", SUM, "default"): {0: 10, 1: 4},
                ("OutboundMessages", SUM, "default"): {0: 26},
                ("PublishClientError", SUM, "default"): {0: 1},
                ("TokensConsumed", SUM, None): {0: 8, 1: 1},
                ("Latency", SUM, None): {0: 80.0, 1: 30.0},
                ("Latency", "SampleCount", None): {0: 8, 1: 2},
                ("Latency", "p99", None): {0: 9.0, 1: 21.0},
                ("ActiveConnections", SUM, None): {0: 2, 1: 4},
            }
        ),
    )
    rows = rows_of(run)

    def both(metric: str) -> tuple[Any, Any, Any]:
        row = rows[metric]
        return row["ours"], row["theirs"], row["difference"]

    assert both("ConnectSuccess") == (3, 4, 1)
    assert "logs in once more" in rows["ConnectSuccess"]["reasons"][0]
    assert both("SubscribeSuccess") == (2, 2, 0)
    assert rows["SubscribeSuccess"]["reasons"] == []
    assert both("PublishSuccess") == (5 + 3, 8, 0)
    # Ten events were published, one of which is so large that it counts as two messages. Three probes were published
    # too.
    assert both("InboundMessages") == (10 + 1 + 3, 14, 0)
    # Nine events, one of which is so large that it counts as two messages, went to two subscribers. Six probes went out
    # too.
    assert both("OutboundMessages") == (18 + 2 + 6, 26, 0)
    assert both("BroadcastEventSuccess") == (18 + 6, None, None)
    # A sum of two metrics is known if CloudWatch has a data point of at least one of them.
    assert both("PublishClientError + PublishServerError") == (0, 1, 1)
    assert both("ConnectClientError + ConnectServerError") == (1, None, None)
    assert both("SubscribeClientError + SubscribeServerError") == (1, None, None)
    found = cloudwatch.beside(analysis.load(run))
    assert found is not None
    alone = {row["metric"]: row["value"] for row in found["alone"]}
    assert (alone["TokensConsumed"], alone["ActiveConnections"], alone["5XXError"]) == (9, 4, None)
    assert found["latency_ms"] == {
        "samples": 10, "mean": 11.0, "p50": None, "p99": (9.0, 21.0), "Maximum": None
    }  # fmt: skip
    assert found["settled"] is True


def test_probes_of_a_worker_that_broke_off_are_not_known(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["workers"][0]["finished"] = False
    (run / "manifest.json").write_text(json.dumps(manifest))
    keep(run, fetched({("InboundMessages", SUM, None): {0: 14}}))
    row = rows_of(run)["InboundMessages"]
    assert (row["ours"], row["theirs"], row["difference"]) == (None, 14, None)
    assert "ours is not known" in row["reasons"][0]


@pytest.fixture
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no plots: they take most of a report's time and do not matter here."""
    monkeypatch.setattr("analysis.plots.ALL", ())


@pytest.mark.usefixtures("_no_plots")
def test_it_is_in_the_report_and_verified(run: Path) -> None:
    before = analysis.summarise(analysis.load(run))
    assert not write(analysis.load(run), before)
    assert "cloudwatch" not in before
    keep(run, fetched({("ConnectSuccess", SUM, None): {0: 4}, ("Latency", "p99", None): {0: 9, 1: 21}}, 60))
    summary = analysis.summarise(analysis.load(run))
    assert not write(analysis.load(run), summary)
    page = (run / "report.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "CloudWatch beside ours" in text
    assert "connections accepted ConnectSuccess 3 4 +1 +33.33 %" in text
    assert "events published, in 5 kB InboundMessages 14 – – –" in text
    assert "9.00 ms to 21.0 ms" in text
    assert "figures may still grow" in text
    markdown = (run / "summary.md").read_text()
    assert r"connections accepted \(ConnectSuccess\) | 3 | 4 | \+1 |" in markdown
    assert verify(analysis.load(run)).disagreements == []
    content = json.loads((run / cloudwatch.NAME).read_text())
    next(each for each in content["series"] if each["values"] == [4.0])["values"] = [5.0]
    (run / cloudwatch.NAME).write_text(json.dumps(content))
    said = verify(analysis.load(run)).disagreements
    assert any(line.startswith("summary.json: cloudwatch.rows.0.theirs is 4") for line in said)


def test_a_file_that_cannot_be_read_is_one_sentence(run: Path) -> None:
    for content in ("{", "[]", '{"format": 9}'):
        (run / cloudwatch.NAME).write_text(content)
        with pytest.raises(
            analysis.ReadError, match="remove it, or fetch it again with `loadgen aws metrics"
        ):
            cloudwatch.beside(analysis.load(run))


@pytest.mark.usefixtures("_no_plots")
def test_what_aws_says_is_harmless_in_the_report(run: Path) -> None:
    content = fetched({("ConnectSuccess", SUM, None): {0: 4}})
    content["api_id"], content["incomplete"] = "<script>alert(1)</script>", ["<b>x"]
    keep(run, content)
    assert not write(analysis.load(run), analysis.summarise(analysis.load(run)))
    page = (run / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<b>x" not in page


# The following tests are about the end of a run.


def request(**more: Any) -> RunOptions:
    return RunOptions("comments", **{"target": "aws:load", "cloudwatch": True, "allow_remote": True, **more})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AwsError("nothing there", 3), "loadgen: nothing there\nloadgen: fetch them later with"),  # type: ignore[arg-type]
        (KeyboardInterrupt(), "loadgen: not waited for CloudWatch's metrics: fetch them later with"),
    ],
)
def test_a_run_whose_metrics_do_not_come_says_how_to_fetch_them_later(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from loadgen.cli import cloudwatch, launch

    def fails(folder: Path, access: Access, wait: bool) -> None:
        assert (access, wait) == (Access("p", "eu-west-1"), True)
        raise error

    monkeypatch.setattr(cloudwatch, "fetch_metrics", fails)
    launch._cloudwatch(Path("results/x"), request(profile="p", region="eu-west-1"))
    assert f"{said} `loadgen aws metrics results/x`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"target": "http://127.0.0.1:1/event"}, "--cloudwatch goes with a target on AWS"),
        ({"target": None}, "--cloudwatch goes with a target on AWS"),
        ({"profile": "nobody-has-it"}, "nobody-has-it"),
    ],
)
def test_metrics_that_cannot_come_are_told_before_the_run(
    more: dict[str, Any], said: str, credentials: None
) -> None:
    from loadgen.cli import launch

    assert said in str(launch._problem(request(**more)))
