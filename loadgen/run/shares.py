"""Which worker plays which client: shares by weight, the same however often they are computed.

The clients of a run are dealt out one by one in the order of their numbers, so that of every stretch of them, and so of
every group, each worker has its part: after any number of clients none is a whole client away from its weight's share.
That such a sequence exists, and the rule that finds it, is Tijdeman's ("The chairman assignment problem", Discrete
Mathematics 32, 1980): of those to whom a client is due, the one whose next client would be overdue first.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

from loadgen.resolve import ResolvedRun

#: Weights are fractions of small numbers, so that a sequence repeats soon and can be computed exactly.
FINEST = Fraction(1, 1000)
HEAVIEST = 10_000


def weight_of(text: str) -> Fraction:
    """Return a weight as it is written, such as `2` or `0.5`.

    Raises:
        ValueError: it is none; the text is a sentence.
    """
    try:
        # An exponent would be worked out first, however large: it is no way to write a weight.
        weight = Fraction(text.strip() if len(text) <= 20 and "e" not in text.lower() else "0")
    except (ValueError, ZeroDivisionError):
        weight = Fraction(0)
    if not 0 < weight <= HEAVIEST or (weight / FINEST).denominator != 1:
        raise ValueError(
            f"a weight is a number such as 2 or 0.5, above 0 and at most {HEAVIEST:,},"
            f" with three decimals at most, not {text!a}"
        )
    return weight


@dataclass
class Share:
    """What one worker holds of a run."""

    #: Its clients by role, lowest number first.
    free: dict[str, deque[int]] = field(default_factory=dict)
    clients: int = 0
    subscriptions: int = 0
    sockets: int = 0
    #: Of these the connections of its own that a client holds; the others are HTTP's.
    websockets: int = 0

    def counts(self) -> dict[str, int]:
        """Return how many clients of each role nobody has claimed yet."""
        return {role: len(numbers) for role, numbers in self.free.items()}


def shares(run: ResolvedRun, weights: Sequence[Fraction]) -> list[Share]:
    """Return what each of the workers with these weights holds; see :func:`turns`."""
    dealt = turns(weights, run.totals.clients)
    found = [Share() for _ in weights]
    for group in run.groups:
        queues = [share.free.setdefault(group.role, deque()) for share in found]
        for number in range(group.first, group.first + group.count):
            queues[dealt[number]].append(number)
        its = Counter(dealt[group.first : group.first + group.count])
        for worker, count in its.items():
            share = found[worker]
            share.clients += count
            share.subscriptions += count * len(group.subscribe)
            share.sockets += count * group.sockets_per_client
            share.websockets += count * group.holds_connections
    return found


def turns(weights: Sequence[Fraction], count: int) -> list[int]:
    """Return for each of ``count`` clients the index of its worker.

    Each worker's number of the first n clients differs from its share n × weight ÷ sum of weights by less than one,
    for every n.
    """
    if not weights or any(weight <= 0 for weight in weights):
        raise ValueError("there is nobody to deal to, or a weight that is not above zero")
    if len(weights) == 1:
        return [0] * count
    scale = lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    common = gcd(*whole)
    whole = [weight // common for weight in whole]
    # After as many clients as the sum of the weights everybody has exactly its share, and it begins anew.
    period = _period(whole, min(count, sum(whole)))
    repeated, rest = divmod(count, len(period)) if period else (0, 0)
    return period * repeated + period[:rest]


def _period(weights: Sequence[int], length: int) -> list[int]:
    """Return the first ``length`` turns by Tijdeman's rule, in whole numbers.

    With k workers of weights w and sum W, ε = 1 / (2k − 2): at turn t worker i, who has had x clients, may be chosen
    where w·t/W − x ≥ ε, and is overdue from (x + 1 − ε)·W/w on. All is multiplied by W·(2k − 2).
    """
    total, two = sum(weights), 2 * len(weights) - 2
    had = [0] * len(weights)
    found = []
    for turn in range(1, length + 1):
        best, due, best_weight = -1, 0, 1
        for index, weight in enumerate(weights):
            if two * (weight * turn - total * had[index]) >= total:
                its = two * (had[index] + 1) - 1
                # Which of two is overdue first, its/weight or due/best_weight, without dividing.
                if best < 0 or its * best_weight < due * weight:
                    best, due, best_weight = index, its, weight
        had[best] += 1
        found.append(best)
    return found
