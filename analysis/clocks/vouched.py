"""Narrow the offset bounds from pings by the error bounds that ClockBound daemons report.

If the daemons of both hosts report a bound at every ping, the two clocks never differ by more than the largest sum of
their bounds. A daemon's bound is a claim, a ping is proof: if they contradict each other anywhere, the claim is ignored
(`analysis.verdict.clockbound` reports it).
"""

import numpy as np

from analysis.clocks.envelope import SLEW, Curve, Floats, Ints

#: Maximum time between two pings. If any two are further apart, the ClockBound daemons' bounds are not used at all.
#: Otherwise, the bounds are widened by the largest slew within the longest time between two pings.
_LONGEST_GAP_NS = 2_000_000_000


def narrowed(curve: Curve, sent_ns: Ints, vouched_ns: Ints) -> Curve:
    """Return the offset curve narrowed to the ClockBound daemons' bounds, or ``curve`` itself if these cannot be used.

    ``sent_ns`` is the time at which each ping left, on the worker's clock. ``vouched_ns`` is the sum of the bounds that
    the daemons of both hosts reported at that ping, or -1 if one of them reported none.
    """
    if not len(vouched_ns) or bool((vouched_ns < 0).any()):
        return curve
    at = np.sort(sent_ns) - curve.base_at_ns
    gap_ns = int(np.diff(at).max(initial=0))
    if gap_ns > _LONGEST_GAP_NS:
        return curve
    # Widen the daemons' bounds, because both clocks may be slewed (run faster or slower) between two pings.
    within = float(vouched_ns.max()) + 2 * SLEW * gap_ns
    most, least = within - curve.base_ns, -within - curve.base_ns
    nodes = _with_crossings(curve, (float(at[0]), float(at[-1])), most, least)
    low, high, estimate = (
        np.interp(nodes, curve.at_ns, side) for side in (curve.low_ns, curve.high_ns, curve.estimate_ns)
    )
    inside = (nodes >= at[0]) & (nodes <= at[-1])
    low, high = np.where(inside, np.maximum(low, least), low), np.where(inside, np.minimum(high, most), high)
    if bool((low > high).any()):
        return curve
    return Curve(nodes, low, high, np.clip(estimate, low, high), curve.base_at_ns, curve.base_ns)


def _with_crossings(curve: Curve, edges: tuple[float, float], most: float, least: float) -> Floats:
    """Return the times of the narrowed curve's nodes.

    These are the nodes of ``curve``, and the times at which its upper bound crosses ``most`` or its lower bound crosses
    ``least``. The narrowed bounds jump at each of the ``edges``. So the edges are nodes too, and the times 1 ns before
    and after them.
    """
    more = [np.array([edge + aside for edge in edges for aside in (-1.0, 0.0, 1.0)])]
    for side, level in ((curve.high_ns, most), (curve.low_ns, least)):
        above = side - level
        crossing = np.flatnonzero(above[:-1] * above[1:] < 0)
        share = above[crossing] / (above[crossing] - above[crossing + 1])
        more.append(curve.at_ns[crossing] + share * (curve.at_ns[crossing + 1] - curve.at_ns[crossing]))
    return np.unique(np.concatenate((curve.at_ns, *more)))
