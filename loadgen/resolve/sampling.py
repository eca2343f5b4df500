"""Draw the channels that a client subscribes to and publishes to, at random from the seed that all workers share.

Only ``Random.random()`` with a text as seed is used, because Python guarantees the same sequence for it across versions
and platforms, unlike for ``choice`` and ``hash``.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import accumulate, product
from math import prod
from random import Random

from loadgen.resolve.run import Variable
from loadgen.scenario.template import Template

#: Up to this many channels of a template are rendered in advance, so that a draw takes one step.
_TABLE_MAX = 16_384


@lru_cache(maxsize=64)
def _cumulative(variable: Variable) -> tuple[float, ...]:
    """Return the cumulative probability of each Zipf-distributed value; the last is 1."""
    exponent = variable.exponent or 1.0
    sums = list(accumulate((value + 1) ** -exponent for value in range(variable.count)))
    return tuple(each / sums[-1] for each in sums)


def draw_value(variable: Variable, random: Random) -> int:
    """Draw a value of the variable, 0 to count-1, by the values' popularity; takes one number from ``random``."""
    if variable.popularity == "zipf":
        return bisect_right(_cumulative(variable), random.random())
    return int(random.random() * variable.count)


def fixed_value(variable: Variable, index: int) -> int | None:
    """Return the variable's fixed value for client ``index`` of its group, or None if the value is drawn."""
    return index % variable.count if variable.assign == "by-client" else None


def draw_channel(template: Template, variables: Mapping[str, Variable], index: int, random: Random) -> str:
    """Draw a channel for client ``index`` of its group.

    A variable that occurs several times in the template has the same value each time.
    """
    values: dict[str, int] = {}
    for name in dict.fromkeys(template.names):
        fixed = fixed_value(variables[name], index)
        values[name] = draw_value(variables[name], random) if fixed is None else fixed
    return template.render(values)


class ChannelTable:
    """The channels of one publish template and their probabilities, shared by all clients of a group."""

    def __init__(self, template: Template, variables: Mapping[str, Variable]) -> None:
        self._template = template
        self._variables = {name: variables[name] for name in dict.fromkeys(template.names)}
        self._random = {
            name: variable for name, variable in self._variables.items() if variable.assign == "random"
        }
        self._fixed = [name for name in self._variables if name not in self._random]
        self._size = prod(variable.count for variable in self._random.values())
        self._cumulative = self._joint() if self._size <= _TABLE_MAX else None
        # Clients with the same fixed values share the rendered channels.
        self._channels = lru_cache(maxsize=256)(self._render)

    def draw(self, index: int, random: Random) -> Callable[[], str]:
        """Return a function that draws the next channel for client ``index`` of its group."""
        if self._size > _TABLE_MAX:
            return lambda: draw_channel(self._template, self._variables, index, random)
        fixed = tuple(fixed_value(self._variables[name], index) or 0 for name in self._fixed)
        channels = self._channels(fixed)
        uniform = random.random
        if self._size == 1:
            only = channels[0]
            return lambda: only
        cumulative = self._cumulative
        if cumulative is None:
            size = self._size
            return lambda: channels[int(uniform() * size)]
        return lambda: channels[bisect_right(cumulative, uniform())]

    def _render(self, fixed: tuple[int, ...]) -> tuple[str, ...]:
        values = dict(zip(self._fixed, fixed, strict=True))
        ranges = [range(variable.count) for variable in self._random.values()]
        return tuple(
            self._template.render({**values, **dict(zip(self._random, drawn, strict=True))})
            for drawn in product(*ranges)
        )

    def _joint(self) -> tuple[float, ...] | None:
        """Return the cumulative probability of each combination of the variables' values, in the order of `product`.

        Return None if all combinations are equally probable.
        """
        if all(variable.popularity == "uniform" for variable in self._random.values()):
            return None
        shares = [shares_of(variable) for variable in self._random.values()]
        sums = list(accumulate(prod(combination) for combination in product(*shares)))
        return tuple(each / sums[-1] for each in sums)


def shares_of(variable: Variable) -> list[float]:
    """Return the probability of each value of a variable that is drawn at random."""
    if variable.popularity == "uniform":
        return [1 / variable.count] * variable.count
    cumulative = _cumulative(variable)
    return [later - earlier for earlier, later in zip((0.0, *cumulative), cumulative, strict=False)]


class ChannelDraw:
    """Draws the channels of one publisher's requests in the order of its schedule, so timing does not change them."""

    __slots__ = ("next",)

    next: Callable[[], str]
    """Return the channel of the next request."""

    def __init__(self, table: ChannelTable, index: int, random: Random) -> None:
        self.next = table.draw(index, random)
