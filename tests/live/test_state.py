"""Test the live state: reports add up exactly, and unknown values are not 0."""

from collections import Counter

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.live.plan import Due, expected_by_channel
from loadgen.live.series import Loss
from loadgen.live.state import POINTS_KEPT
from loadgen.measure.running import BOUNDS_NS, RunningStatistics, encode
from loadgen.measure.surroundings import Around
from loadgen.resolve import Clients
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import overrides_of
from loadgen.targets import APPSYNC_EVENTS
from tests.live.synthetic import CHANNEL, MEASURE_NS, MS, SECOND, Fake, event, report_of, scenario

LATENCIES = st.lists(st.integers(-5 * MS, 20 * SECOND), min_size=1, max_size=60)


@settings(max_examples=25)
@given(st.lists(LATENCIES, min_size=1, max_size=4))
def test_workers_add_up_to_what_one_would_have_seen(parts: list[list[int]]) -> None:
    many, one = Fake(workers=len(parts)), Fake()
    for worker, part in enumerate(parts):
        many.second(part, worker=worker)
    together = [value for part in parts for value in part]
    one.second(together)
    assert many.tick()
    assert one.tick()
    for key in ("latency_ns", "latency_10s_ns", "loss"):
        assert many.state.points[-1][key] == one.state.points[-1][key]
    assert many.state.so_far == one.state.so_far
    assert many.state.latency.counts == one.state.latency.counts
    # The buckets up to a bound hold exactly the values up to this bound, however large or negative these are.
    for place, bound_ns in enumerate(BOUNDS_NS):
        assert sum(one.state.latency.counts[: place + 1]) == sum(value <= bound_ns for value in together)
    assert sum(one.state.latency.counts) == len(together)
    assert one.state.negative == sum(value < 0 for value in together)
    assert (one.state.latency.min_ns, one.state.latency.max_ns) == (min(together), max(together))


def test_percentiles_are_of_merged_histograms_and_not_averages() -> None:
    fake = Fake(workers=2)
    fake.second([1 * MS] * 99, worker=0)
    fake.second([100 * MS] * 1, worker=1)
    assert fake.tick()
    seen = fake.state.points[-1]["latency_ns"]
    assert (seen["p50"] // MS, seen["p99"] // MS, seen["count"]) == (1, 1, 100)
    assert seen["max"] >= 100 * MS


def test_a_second_waits_for_all_workers_and_is_unknown_where_one_is_silent() -> None:
    fake = Fake(workers=2)
    for worker in (0, 1):
        fake.second([MS] * 10, worker=worker)
    assert fake.tick()
    assert fake.state.points[-1]["deliveries_per_s"] == 20
    fake.second([MS] * 10, worker=0)
    assert not fake.tick()
    assert not fake.tick()
    # The worker has been silent for too long, so a point is made; figures that need this worker are unknown.
    assert fake.tick()
    point = fake.state.points[-1]
    unknown = (
        "deliveries_per_s",
        "events_sent_per_s",
        "latency_ns",
        "latency_10s_ns",
        "cpu_max",
        "queue_max_ns",
    )
    assert {key: point[key] for key in unknown} == dict.fromkeys(unknown)
    # The totals include the last deliveries of worker 0, although worker 1 is silent.
    assert fake.state.deliveries == 30
    assert fake.tick(3)
    assert fake.state.verdict.kind == "invalid"
    assert "nothing is known of worker 1 for 6 s" in fake.state.verdict.reasons


def test_a_lost_worker_makes_the_run_invalid_and_the_rates_unknown() -> None:
    fake = Fake(workers=2)
    for worker in (0, 1):
        fake.second([MS], worker=worker)
    assert fake.tick()
    assert fake.state.verdict.kind == "valid"
    fake.gone = frozenset({1})
    fake.second([MS], worker=0)
    assert fake.tick()
    assert fake.state.verdict.kind == "invalid"
    assert fake.state.points[-1]["deliveries_per_s"] is None


def test_nothing_is_known_before_anything_was_measured() -> None:
    fake = Fake()
    fake.phase = "ramp"
    fake.second([])
    assert fake.tick()
    point = fake.state.points[-1]
    assert point["latency_ns"] is None
    assert point["loss"] is None
    assert fake.state.verdict.kind is None
    assert fake.state.so_far["latency_ns"] is None


def test_loss_is_of_the_seconds_that_are_settled() -> None:
    fake = Fake(scenario(readers=10))
    for number in range(8):
        # The event sent in the third second first reaches 7 of 10 readers. Two of the other three get it four seconds
        # later, and one never.
        arrived = 7 if number == 2 else 10
        fake.second([MS] * arrived, [event(fake.at_ns, sequence=number)], sequence=number)
        if number == 6:
            fake.second([4 * SECOND] * 2, intended_ns=MEASURE_NS + 2 * SECOND, sequence=2)
        fake.tick()
    losses = [point["loss"] for point in fake.state.points]
    assert losses[:3] == [None] * 3
    assert [round(loss, 6) for loss in losses[3:]] == [0, 0, 0.3, 0, 0]
    # After another tenth of a second, no further second has a final loss, so the point repeats the last loss.
    fake.second([])
    fake.tick(0.1)
    assert fake.state.points[-1]["loss"] == 0
    # Late deliveries count as delivered.
    assert fake.state.loss.so_far() == 1 - 49 / 50
    assert (fake.state.loss.arrived_measured, fake.state.loss.expected_measured) == (79, 80)


def test_more_arrivals_than_expected_are_an_unknown_loss_and_never_a_negative_one() -> None:
    fake = Fake(scenario('["delivery.loss == 0"]', readers=10))
    for number in range(6):
        # In the second second three deliveries arrive twice.
        arrived = 13 if number == 1 else 10
        fake.second([MS] * arrived, [event(fake.at_ns, sequence=number)], sequence=number)
        fake.tick()
    assert [point["loss"] for point in fake.state.points] == [None, None, None, 0, None, 0]
    assert (fake.state.so_far["loss"], fake.state.so_far["surplus"]) == (None, 3)
    assert fake.state.gates[0]["holds"] is None
    # Now 5 deliveries are missing, more than the 3 that arrived twice, so at least the difference of 2 is lost.
    fake.second([MS] * 5, [event(fake.at_ns, sequence=6)], sequence=6)
    fake.tick()
    fake.state.finish(fake.at_ns, fake.view())
    assert (fake.state.so_far["loss"], fake.state.so_far["surplus"]) == (1 - 68 / 70, None)


def test_a_second_is_settled_only_when_all_workers_have_reported_it() -> None:
    fake = Fake(scenario(readers=10), 2)
    withheld = []
    for number in range(14):
        withheld.append(event(fake.at_ns, sequence=number))
        if number not in range(3, 9):
            # Worker 1 publishes but does not report for six seconds; worker 0 has the subscriptions.
            fake.second([], withheld, worker=1)
            withheld = []
        fake.second([MS] * 10, sequence=number)
        fake.tick()
        # Events that worker 1 has not reported as sent yet count neither as lost nor, when they arrive, as surplus.
        assert fake.state.so_far["surplus"] is None
        assert fake.state.so_far["loss"] in (None, 0)
    assert {point["loss"] for point in fake.state.points} == {None, 0}
    assert fake.state.points[-1]["loss"] == 0


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 1_000), st.integers(0, 12)), max_size=40
    )
)
def test_no_order_of_counts_makes_a_loss_negative(steps: list[tuple[bool, int, int, int]]) -> None:
    loss = Loss()
    for is_arrival, second, count, at_s in steps:
        name = "arrived" if is_arrival else "expected"
        loss.take({"arrived": [], name: [[second, count]]})
        for found in (loss.settle(at_s * SECOND), loss.so_far()):
            assert found is None or 0 <= found <= 1
    loss.settle(None)
    arrived = sum(count for is_arrival, _, count, _ in steps if is_arrival)
    expected = sum(count for is_arrival, _, count, _ in steps if not is_arrival)
    surplus = arrived - expected if arrived > expected else None
    assert loss.surplus() == surplus
    assert loss.so_far() == (1 - arrived / expected if expected and surplus is None else None)


def test_when_the_run_is_over_all_is_settled_and_silence_is_no_fault() -> None:
    fake = Fake(scenario(readers=10))
    fake.second([MS] * 9, [event(MEASURE_NS)])
    fake.tick()
    assert fake.state.so_far["loss"] is None
    fake.phase = "finishing"
    fake.second([])
    assert fake.tick()
    points = len(fake.state.points)
    assert not fake.tick(10)
    fake.state.finish(fake.at_ns, fake.view())
    assert len(fake.state.points) == points
    assert fake.state.so_far["loss"] == 1 - 9 / 10
    assert fake.state.verdict.kind == "valid"


def test_the_measure_phase_is_told_from_the_warm_up_by_the_intended_time() -> None:
    fake = Fake(scenario(readers=10))
    fake.second([900 * MS] * 4, intended_ns=MEASURE_NS - 1)
    mixed = np.array([MEASURE_NS - 1] * 3 + [MEASURE_NS] * 5)
    maker = RunningStatistics(lambda channel: 10, 1)
    maker.measure_from(MEASURE_NS)
    latency = np.array([900 * MS] * 3 + [MS] * 5)
    columns = {
        "publisher": np.zeros(8, dtype=np.int64),
        "sequence": np.ones(8, dtype=np.int64),
        "intended_ns": mixed,
        "arrival_ns": mixed + latency,
    }
    report = report_of(maker, columns, latency)
    assert report["arrived"] == [[-1, 3], [0, 5]]
    assert HdrHistogram.decode(report["measured"]).total_count == 5
    assert fake.state.so_far["latency_ns"] is None
    assert fake.state.so_far["deliveries"] == 0
    assert fake.state.deliveries == 4


def test_first_and_last_subscriber_are_of_events_that_reached_all() -> None:
    fake = Fake(scenario(readers=10), workers=2)
    # The sampled event's arrivals are spread over the reports of two workers, and over two seconds.
    fake.second([1 * MS] * 4, [event(MEASURE_NS)], worker=0)
    fake.second([3 * MS] * 4, worker=1)
    fake.tick()
    assert fake.state.so_far["last_ns"] is None
    fake.second([50 * MS] * 2, worker=0, intended_ns=MEASURE_NS)
    fake.second([], worker=1)
    fake.tick()
    so_far = fake.state.so_far
    assert so_far["sampled_events"] == 1
    assert so_far["first_ns"]["max"] // MS == 1
    assert so_far["last_ns"]["max"] // MS == 50
    # An event that never reaches all subscribers has no last subscriber.
    fake.second([1 * MS] * 9, [event(fake.at_ns, sequence=2)], worker=0, sequence=2)
    for _ in range(20):
        fake.second([], worker=0)
        fake.second([], worker=1)
        fake.tick()
    assert (fake.state.subscribers.complete, fake.state.subscribers.incomplete) == (1, 1)
    assert not fake.state.subscribers._open


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 10**9)), min_size=1, max_size=50),
    st.integers(1, 4),
)
def test_sampling_finds_the_first_and_last_arrival_of_each_chosen_event(
    rows: list[tuple[int, int, int]], every: int
) -> None:
    maker = RunningStatistics(lambda channel: None, every)
    maker.measure_from(MEASURE_NS)
    publisher, sequence, latency = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    intended = np.full(len(rows), MEASURE_NS)
    columns = {
        "publisher": publisher,
        "sequence": sequence,
        "intended_ns": intended,
        "arrival_ns": intended + latency,
    }
    found = {
        (p, s): (first, last, n)
        for p, s, _, first, last, n in report_of(maker, columns, latency, offset_ns=5)["sampled"]
    }
    wanted = {}
    for key in {(p, s) for p, s, _ in rows if (p + s) % every == 0}:
        values = [MEASURE_NS + value + 5 for p, s, value in rows if (p, s) == key]
        wanted[key] = (min(values), max(values), len(values))
    assert found == wanted


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-2, 2), st.integers(-(10**6), 10**10)),
        max_size=50,
    ),
    st.lists(st.integers(0, 50), max_size=4),
)
def test_a_report_is_the_same_however_its_rows_were_cut(
    rows: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    maker = RunningStatistics(lambda channel: None, 2)
    maker.measure_from(MEASURE_NS)
    table = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    columns = dict(zip(("publisher", "sequence", "intended_ns"), table, strict=False))
    columns["intended_ns"] = MEASURE_NS + columns["intended_ns"] * SECOND
    latency = table[3]
    columns["arrival_ns"] = columns["intended_ns"] + latency
    whole = report_of(maker, columns, latency)
    cut = report_of(maker, columns, latency, cuts=sorted(cuts))
    assert cut == whole
    assert sum(count for _, count in whole["arrived"]) == whole["deliveries"] == len(rows)
    inside = columns["intended_ns"] >= MEASURE_NS
    if inside.any() and not inside.all():
        measured = HdrHistogram.decode(whole["measured"])
        wanted = HdrHistogram.decode(encode(latency[inside]))
        assert measured.total_count == wanted.total_count
        assert list(measured.counts) == list(wanted.counts)


def test_a_forged_time_costs_no_memory() -> None:
    maker = RunningStatistics(lambda channel: None, 1)
    maker.measure_from(MEASURE_NS)
    intended = np.array([0, MEASURE_NS, 2**62], dtype=np.int64)
    columns = {
        "publisher": intended * 0,
        "sequence": intended * 0,
        "intended_ns": intended,
        "arrival_ns": intended,
    }
    assert len(report_of(maker, columns, intended * 0)["arrived"]) == 3


def test_points_are_bounded() -> None:
    fake = Fake()
    for _ in range(3):
        fake.second([])
        fake.tick()
    assert fake.state.points.maxlen == POINTS_KEPT


def test_rates_compare_what_was_due_with_what_happened() -> None:
    fake = Fake(scenario(readers=10))
    for number in range(3):
        fake.totals["sent"] += 9
        fake.totals["accepted"] += 8
        fake.second([MS] * 95, sequence=number)
        fake.tick()
    point = fake.state.points[-1]
    assert point["events_due_per_s"] == 10
    assert point["deliveries_due_per_s"] == 100
    assert (point["events_sent_per_s"], point["events_accepted_per_s"]) == (9, 8)
    assert point["deliveries_per_s"] == 95


def test_counts_that_no_worker_has_reported_yet_are_zero() -> None:
    fake = Fake(scenario(readers=10))
    known = fake.totals
    fake.totals = Counter()
    for number in range(2):
        fake.second([MS], sequence=number)
        assert fake.tick()
    point = fake.state.points[-1]
    assert (point["connected"], point["ready"], point["events_sent_per_s"]) == (0, 0, 0)
    fake.totals = known
    fake.totals["sent"] = 9
    fake.second([MS] * 95, sequence=2)
    assert fake.tick()
    assert fake.state.points[-1]["events_sent_per_s"] == 9


def test_the_generator_is_judged_by_the_same_limits_as_afterwards() -> None:
    fake = Fake(scenario())
    fake.second([MS] * 10, [event(MEASURE_NS, "unsent", sequence=number) for number in range(5)])
    fake.tick()
    assert fake.state.verdict.kind == "invalid"
    assert "5 of 5 events that were due were never sent" in fake.state.verdict.reasons[0]
    late = Fake(scenario())
    late.second([10 * MS] * 10, [event(MEASURE_NS, sequence=number, late_ns=5 * MS) for number in range(5)])
    late.tick()
    assert (late.state.verdict.kind, len(late.state.verdict.reasons)) == ("degraded", 1)
    stalled = Fake(scenario())
    stalled.second([MS] * 10, lag_max_ns=300 * MS, gc_ns=200 * MS, cpu_ns=SECOND, open_files=95)
    stalled.tick()
    assert stalled.state.verdict.kind == "invalid"
    assert len(stalled.state.verdict.reasons) == 4


def test_a_cpu_quota_is_named_first_and_once_for_workers_that_share_it() -> None:
    fake = Fake(scenario(), workers=2)
    around = Around(cgroup=7, throttled_ns=640 * MS, allowed_ns=SECOND // 4)
    for worker in (0, 1):
        fake.second([10 * MS] * 10, worker=worker, around=around)
    fake.tick()
    assert fake.state.verdict.kind == "invalid"
    first, *others = fake.state.verdict.reasons
    assert first == "a CPU quota stopped worker 0 for 64.0% of the time, up to 640 ms in a second"
    assert not any("CPU quota" in reason for reason in others)
    # Each worker uses all the CPU time it is allowed, although that is only a quarter of a core.
    assert [reason for reason in others if "of the CPU that it is allowed" in reason]


@pytest.mark.parametrize(
    ("lag_ns", "said"),
    [
        (100 * MS, "before they were read: p99 300 ms"),
        # The event loop ran all the time, so the generator is not to blame.
        (MS, "behind data that was lost on the way and sent again: p99 300 ms"),
    ],
)
def test_a_receive_queue_that_is_too_long_for_more_than_one_in_a_hundred_is_told(
    lag_ns: int, said: str
) -> None:
    # The synthetic queue delay is one tenth of the latency.
    fake = Fake(scenario())
    for number in range(10):
        fake.second([100 * MS] * 100, sequence=number, queue_max_ns=10 * MS)
        fake.tick()
    assert fake.state.verdict.kind == "valid"
    slow = [3 * SECOND] * 9 + [100 * MS] * 91
    fake.second(slow, queue_max_ns=300 * MS, lag_max_ns=lag_ns)
    fake.tick()
    # 9 of 1,100 deliveries are less than one in a hundred, but 18 of 1,200 are more.
    assert fake.state.verdict.kind == "valid"
    fake.second(slow, queue_max_ns=300 * MS, lag_max_ns=lag_ns)
    fake.tick()
    assert fake.state.verdict.kind == "degraded"
    assert said in fake.state.verdict.reasons[0]


def test_gates_show_their_value_so_far_or_that_it_is_known_at_the_end() -> None:
    fake = Fake(
        scenario(
            '["delivery.latency.p99 < 50ms", "delivery.loss == 0", "delivery.duplicates == 0", "publish.errors == 0"]'
        )
    )
    assert [gate["holds"] for gate in fake.state.gates] == [None] * 4
    for number in range(6):
        fake.second([60 * MS] * 10, [event(fake.at_ns, sequence=number)], sequence=number)
        fake.tick()
    assert [gate["holds"] for gate in fake.state.gates] == [False, True, None, True]
    fake.second([], [event(fake.at_ns, "rejected")])
    fake.tick()
    assert fake.state.gates[3]["value"] == 1 - 6 / 7
    assert fake.state.gates[3]["holds"] is False


def test_what_an_event_should_bring_follows_from_the_subscriptions() -> None:
    comments = load("comments", overrides_of(["clients.readers.count=40"]))
    plan = Clients(run := resolve(comments))
    expected = expected_by_channel(run, APPSYNC_EVENTS.rules)
    patterns = Counter(
        subscription.channel
        for number in range(len(plan))
        for subscription in plan.client(number).subscriptions
    )
    for pattern, readers in patterns.items():
        assert expected(pattern.replace("*", "3")) == readers
    assert expected("/default/elsewhere/1") == 0
    assert expected_by_channel(resolve(scenario()), APPSYNC_EVENTS.rules)(CHANNEL) == 10
    churning = load("subscription-churn", overrides_of([]))
    assert expected_by_channel(resolve(churning), APPSYNC_EVENTS.rules)("/default/x") is None
    assert Due(resolve(churning)).deliveries(SECOND) is None
