"""Exact amounts that may be known only as a range, only from below, or not at all."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class Span:
    """An amount between `low` and `high`.

    `high` is None if no upper bound is known; `low` is None, too, if nothing is known about the amount.
    """

    low: Fraction | None
    high: Fraction | None

    @classmethod
    def of(cls, value: Fraction | int) -> "Span":
        """Return an amount that is known exactly."""
        return cls(Fraction(value), Fraction(value))

    @property
    def known(self) -> bool:
        """True if the amount has both bounds."""
        return self.low is not None and self.high is not None

    @property
    def single(self) -> bool:
        """True if the amount is known exactly."""
        return self.known and self.low == self.high

    def times(self, factor: Fraction) -> "Span":
        """Return the amount multiplied by a factor that is not negative."""
        return Span(
            None if self.low is None else self.low * factor, None if self.high is None else self.high * factor
        )

    def hull(self, other: "Span") -> "Span":
        """Return the range that covers both amounts."""
        if self.low is None or other.low is None:
            return Span(None, None)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Span(min(self.low, other.low), high)

    def or_nothing(self) -> "Span":
        """Return the range from zero to this amount, for operations that the service perhaps does not bill."""
        return self if self.low is None else Span(ZERO, self.high)


UNKNOWN = Span(None, None)
NOTHING = Span(ZERO, ZERO)


def total(amounts: Iterable[Span]) -> Span:
    """Return the sum; its lower bound leaves out unknown amounts.

    If any amount is unknown and the others are zero, the sum is unknown, so that an unknown cost never shows as zero.
    """
    parts = list(amounts)
    low = sum((part.low for part in parts if part.low is not None), ZERO)
    highs = [part.high for part in parts if part.high is not None]
    if len(highs) == len(parts):
        return Span(low, sum(highs, ZERO))
    return Span(low, None) if low else UNKNOWN
