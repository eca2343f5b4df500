"""Narrowing what pings prove by what ClockBound daemons vouch for.

Where the daemons of both hosts vouch for their clocks all through the pings, the two clocks are never further apart
than the largest sum of their two bounds. A daemon's word is a claim, a ping is proof: where the two contradict each
other anywhere, the claim is not used at all (`analysis.verdict.clockbound` names it).
"""

import numpy as np

from analysis.clocks.envelope import SLEW, Curve, Floats, Ints

#: Between two words of the daemons a clock may be slewed; after so long they say nothing any more.
_LONGEST_GAP_NS = 2_000_000_000


def narrowed(curve: Curve, sent_ns: Ints, vouched_ns: Ints) -> Curve:
    """Return the curve of the offset, no wider than what the daemons vouch for; the same curve where they do not.

    ``sent_ns`` is when each ping left, on the worker's clock, and ``vouched_ns`` the sum of both bounds at that ping,
    -1 where there was none.
    """
    if not len(vouched_ns) or bool((vouched_ns < 0).any()):
        return curve
    at = np.sort(sent_ns) - curve.base_at_ns
    gap_ns = int(np.diff(at).max(initial=0))
    if gap_ns > _LONGEST_GAP_NS:
        return curve
    # Both clocks may be slewed between two words.
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
    """Return the curve's nodes, the edges twice (the bound jumps there), and where its sides cross the two levels."""
    more = [np.array([edge + aside for edge in edges for aside in (-1.0, 0.0, 1.0)])]
    for side, level in ((curve.high_ns, most), (curve.low_ns, least)):
        above = side - level
        crossing = np.flatnonzero(above[:-1] * above[1:] < 0)
        share = above[crossing] / (above[crossing] - above[crossing + 1])
        more.append(curve.at_ns[crossing] + share * (curve.at_ns[crossing + 1] - curve.at_ns[crossing]))
    return np.unique(np.concatenate((curve.at_ns, *more)))
