"""What Locust shows of deliveries is what it would show had each been a request."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.stats import RequestStats

from loadgen.run.locust_stats import DELIVER, DeliveryTally
from loadgen.scenario import Plan, load, overrides_of

SECOND = 1_000_000_000
#: (subscription, latency) in pieces, as they are written.
PIECES = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 20 * SECOND) | st.integers(0, 3_000_000)),
        min_size=1,
        max_size=30,
    ),
    max_size=5,
)


def plan() -> Plan:
    """Two groups that subscribe: the first has subscriptions 0 to 3."""
    changed = ["clients.audience.count=4", "clients.guests={count: 6, subscribe: /default/broadcast}"]
    return Plan(load("broadcast", overrides_of(changed)))


@settings(max_examples=50, deadline=None)
@given(PIECES)
def test_a_tally_is_what_single_requests_would_have_been(pieces: list[list[tuple[int, int]]]) -> None:
    shown, wanted = RequestStats(), RequestStats()
    made = plan()
    tally = DeliveryTally(shown, made)
    first, second = (group for group in made.groups if group.subscriptions_per_client)
    assert (first.first_subscription, second.first_subscription) == (0, 4)
    for piece in pieces:
        subscriptions, latencies_ns = np.array(piece, dtype=np.int64).T
        tally.add(subscriptions, latencies_ns)
        for subscription, latency_ns in piece:
            group = first if subscription < 4 else second
            wanted.log_request(DELIVER, group.name, latency_ns / 1e6, 0)
    counts = tally.show(5 * SECOND)
    assert counts == {name: entry.num_requests for (name, _), entry in wanted.entries.items()}
    assert set(shown.entries) == set(wanted.entries)
    for key in (*wanted.entries, None):
        ours = shown.total if key is None else shown.entries[key]
        theirs = wanted.total if key is None else wanted.entries[key]
        assert ours.num_requests == theirs.num_requests == sum(ours.response_times.values())
        assert ours.total_response_time == pytest.approx(theirs.total_response_time)
        assert (ours.min_response_time, ours.max_response_time) == (
            theirs.min_response_time,
            theirs.max_response_time,
        )
        if ours.num_requests:
            assert dict(ours.num_reqs_per_sec) == {5: ours.num_requests}
            for share in (0.5, 0.99):
                # Tenths of a millisecond are rounded before Locust rounds: the bucket beside it at most.
                assert ours.get_response_time_percentile(share) == pytest.approx(
                    theirs.get_response_time_percentile(share), rel=0.1, abs=1
                )
    assert tally.show(6 * SECOND) == {}
