"""Test planned behaviours such as churn: the seed determines them, and all workers agree on them and their number."""

import tempfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.resolve import Behaviour, Clients, LifetimePlan, SubscriptionChurnPlan
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario
from tests.scenario.examples import edited

SECOND = 1_000_000_000


def scenario_with(lines: str, count: int = 200) -> Scenario:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(edited("    count: 5\n", f"    count: {count}\n    {lines}\n"))
        return load(str(path))


def behaviours(lines: str, count: int = 200) -> list[Behaviour]:
    plan = Clients(resolve(scenario_with(lines, count)))
    return [plan.client(number).behaviour for number in range(count)]


def test_a_drop_cuts_as_many_as_its_share_says_and_others_each_time() -> None:
    found = behaviours("drops: [{at: 1s, share: 25%}, {at: 3s, share: 25%}]")
    cut = [{place for place, b in enumerate(found) if any(d.number == n for d in b.drops)} for n in (1, 2)]
    assert [len(each) for each in cut] == [50, 50]
    assert cut[0] != cut[1]
    assert {drop.offset_ns for b in found for drop in b.drops} == {SECOND, 3 * SECOND}


@settings(max_examples=30, deadline=None)
@given(share=st.integers(1, 100), count=st.integers(1, 60), over_ms=st.integers(0, 5_000))
def test_a_drop_over_some_time_is_even(share: int, count: int, over_ms: int) -> None:
    found = behaviours(f"drops: [{{at: 1s, share: {share}%, over: {over_ms}ms, close: frame}}]", count)
    offsets = sorted(drop.offset_ns for b in found for drop in b.drops)
    cut = max(1, round(count * share / 100))
    assert offsets == [SECOND + over_ms * 1_000_000 * place // cut for place in range(cut)]
    assert all(drop.with_close_frame for b in found for drop in b.drops)


def test_behaviours_are_the_same_on_every_worker_and_change_with_the_seed() -> None:
    lines = "drops: [{at: 1s, share: 50%}]\n    slow: {share: 50%, read: 1KB/s}\n    churn: {lifetime: 4s}"
    first, again = behaviours(lines), behaviours(lines)
    assert first == again
    plan = Clients(resolve(from_resolved({**scenario_with(lines).resolved(), "seed": 2})))
    other = [plan.client(number).behaviour for number in range(200)]
    assert [b.drops for b in other] != [b.drops for b in first]
    assert [b.read_bytes_per_s for b in other] != [b.read_bytes_per_s for b in first]
    assert lives_of(other[0]) != lives_of(first[0])


def test_a_share_of_clients_reads_slowly() -> None:
    rates = [b.read_bytes_per_s for b in behaviours("slow: {share: 5%, read: 2KiB/s}")]
    assert (rates.count(2048.0), rates.count(None)) == (10, 190)


def lives_of(behaviour: Behaviour, duration_ns: int = 100 * SECOND) -> list[int]:
    assert isinstance(behaviour.churn, LifetimePlan)
    return list(behaviour.churn.offsets_ns(duration_ns))


def test_exponential_lives_have_the_mean_that_was_asked_for() -> None:
    found = behaviours("churn: {lifetime: 4s, away: 1s}", 400)
    leaves = sum(len(lives_of(b)) for b in found)
    # A renewal process: 400 clients for 100 s, each connected for 4 s on average and then away for 1 s. The
    # standard deviation of the number of leaves is about 80.
    assert leaves == pytest.approx(400 * 100 / 5, abs=400)
    assert len({lives_of(b)[0] for b in found}) == 400


def test_constant_lives_end_in_the_order_of_the_ramp() -> None:
    found = behaviours("ramp: 100/s\n    churn: {lifetime: 8s, spread: constant}")
    firsts = [lives_of(b)[0] for b in found]
    assert firsts == [place * SECOND // 100 for place in range(200)]
    assert lives_of(found[1]) == [SECOND // 100 + n * 8 * SECOND for n in range(13)]


def test_subscriptions_change_at_the_groups_rate() -> None:
    found = [b.churn for b in behaviours("churn: {subscriptions: 20/s}")]
    offsets = [list(c.offsets_ns(60 * SECOND)) for c in found if isinstance(c, SubscriptionChurnPlan)]
    # The number of changes is Poisson distributed, with a mean of 1,200 and a standard deviation of 35.
    assert sum(map(len, offsets)) == pytest.approx(1200, abs=175)
    churn = found[0]
    assert isinstance(churn, SubscriptionChurnPlan)
    assert set(islice(churn.choices(3), 60)) == {0, 1, 2}


def test_a_drop_that_nobody_would_see_whole_is_warned_of() -> None:
    scenario = scenario_with("drops: [{at: 19s, share: 10%, over: 2s}]")
    assert (
        "clients.readers.drops.0 is not over before the end of the measure phase (20s): it is not measured whole"
        in resolve(scenario).warnings
    )
