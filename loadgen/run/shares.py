"""Divide a run's clients among its workers by weight, deterministically.

Clients are dealt one by one in the order of their numbers, so that each worker gets its share of every range of
numbers, and thus of every group: after any number of clients, each worker's number of clients differs from its exact
share by less than one. The rule, and the proof that such a sequence exists, are Tijdeman's ("The chairman assignment
problem", Discrete Mathematics 32, 1980): among the workers that are due a client, choose the one that would be overdue
first.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

from loadgen.resolve import ResolvedRun

#: Weights must be multiples of this step. So the clients are shared out exactly, and the sequence of workers soon
#: repeats.
FINEST = Fraction(1, 1000)
HEAVIEST = 10_000


def weight_of(text: str) -> Fraction:
    """Parse a weight such as `2` or `0.5`.

    Raises:
        ValueError: the text is not a valid weight; the message is a sentence.
    """
    try:
        # Exponents are refused: Fraction would expand even huge ones.
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
    """The clients of a run that one worker plays."""

    #: Numbers of the worker's unclaimed clients by role, lowest first.
    free: dict[str, deque[int]] = field(default_factory=dict)
    clients: int = 0
    subscriptions: int = 0
    sockets: int = 0
    #: How many of the `sockets` are clients' own connections; the others are for HTTP requests.
    websockets: int = 0

    def counts(self) -> dict[str, int]:
        """Return the number of unclaimed clients of each role."""
        return {role: len(numbers) for role, numbers in self.free.items()}


def shares(run: ResolvedRun, weights: Sequence[Fraction]) -> list[Share]:
    """Deal a run's clients to workers with these weights; return the clients of each worker. See :func:`turns`."""
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
            share.websockets += count * (group.holds_connections or group.users is not None)
    return found


def turns(weights: Sequence[Fraction], count: int) -> list[int]:
    """Return the index of the worker of each of ``count`` clients.

    For every n, a worker's number of clients among the first n differs from n × weight ÷ sum of weights by less than
    one.

    Raises:
        ValueError: there are no weights, or one is not above zero.
    """
    if not weights or any(weight <= 0 for weight in weights):
        raise ValueError("there are no workers, or a weight is not above zero")
    if len(weights) == 1:
        return [0] * count
    scale = lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    common = gcd(*whole)
    whole = [weight // common for weight in whole]
    # The sequence repeats after sum(whole) clients, when every worker has exactly its share.
    period = _period(whole, min(count, sum(whole)))
    repeated, rest = divmod(count, len(period)) if period else (0, 0)
    return period * repeated + period[:rest]


def _period(weights: Sequence[int], length: int) -> list[int]:
    """Return the workers of the first ``length`` clients by Tijdeman's rule, computed in integers.

    Let the weights of the k workers have the sum W, and ε = 1 / (2k − 2). At turn t, a worker of weight w with x
    clients so far may be chosen if w·t/W − x ≥ ε. Of these workers, the one that is overdue first is chosen: a worker
    is overdue from (x + 1 − ε)·W/w on. All terms are multiplied by W·(2k − 2).
    """
    total, two = sum(weights), 2 * len(weights) - 2
    had = [0] * len(weights)
    found = []
    for turn in range(1, length + 1):
        best, due, best_weight = -1, 0, 1
        for index, weight in enumerate(weights):
            if two * (weight * turn - total * had[index]) >= total:
                its = two * (had[index] + 1) - 1
                # Compare the times from which workers are overdue, `its / weight` and `due / best_weight`, without a
                # division.
                if best < 0 or its * best_weight < due * weight:
                    best, due, best_weight = index, its, weight
        had[best] += 1
        found.append(best)
    return found
