import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.clocks.envelope import Curve
from analysis.clocks.vouched import narrowed

SECOND = 1_000_000_000
AT = np.arange(0, 20) * SECOND // 4


def curve(low: float, high: float, base: int = 0) -> Curve:
    nodes = np.array([-1.0, 3.0, 7.0]) * SECOND
    lows, highs = np.array([low, low * 3, low]), np.array([high, high * 3, high])
    return Curve(nodes, lows, highs, (lows + highs) / 2, 0, base)


def test_the_offset_is_no_wider_than_what_both_daemons_vouch_for() -> None:
    found = narrowed(curve(-1e6, 1e6), AT, np.full(len(AT), 40_000))
    low, high = found.interval(AT)
    # The pings are a quarter of a second apart, and between two of them both clocks may be slewed by 500 ppm.
    assert (high <= 40_000 + 250_000).all()
    assert (low >= -40_000 - 250_000).all()
    assert (high >= 40_000).all()


def test_what_nobody_vouched_for_stays_as_the_pings_have_it() -> None:
    plain = curve(-1e6, 1e6)
    some = np.full(len(AT), 40_000)
    some[5] = -1
    assert narrowed(plain, AT, some) is plain
    assert narrowed(plain, AT[:0], some[:0]) is plain
    # The claims of the two ClockBound daemons do not cover times before the first ping or after the last.
    found = narrowed(plain, AT, np.full(len(AT), 40_000))
    assert found.interval(np.array([-SECOND // 2]))[1][0] > 1e6
    assert found.interval(np.array([6 * SECOND]))[1][0] > 1e6
    # The claims of the ClockBound daemons do not cover a gap of 5 s between two pings, because the daemons were not
    # asked in that time.
    late = AT.copy()
    late[10:] += 5 * SECOND
    assert narrowed(plain, late, np.full(len(AT), 40_000)) is plain


def test_a_claim_that_the_pings_contradict_is_not_used() -> None:
    elsewhere = curve(-1e3, 1e3, base=500_000_000)
    assert narrowed(elsewhere, AT, np.full(len(AT), 40_000)) is elsewhere


@given(
    st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 10**7)), min_size=3, max_size=20),
    st.integers(0, 5 * 10**6),
    st.integers(-(10**9), 10**9),
)
def test_what_both_allow_stays_allowed_at_every_moment(
    sides: list[tuple[int, int]], vouched: int, base: int
) -> None:
    nodes = np.linspace(-1, 6, len(sides)) * SECOND
    low = np.array([side[0] for side in sides], dtype=float)
    high = low + np.array([side[1] for side in sides])
    plain = Curve(nodes, low, high, (low + high) / 2, 0, base)
    found = narrowed(plain, AT, np.full(len(AT), vouched))
    moments = np.linspace(-1, 6, 701) * SECOND
    for at in moments.astype(np.int64):
        (a,), (b,) = plain.interval(np.array([at]))
        (c,), (d,) = found.interval(np.array([at]))
        # The result excludes every offset that the pings exclude. It allows every offset that both the pings and the
        # ClockBound daemon's claim allow.
        assert c >= a - 1
        assert d <= b + 1
        assert c <= max(a, -vouched - base) + 1
        assert d >= min(b, vouched - base) - 1 or c > d
