"""Load curves of a scenario: a list of points, or a short form for a common curve.

Loads are percentages of the group's rate; times count from the start of the measure phase. Each form gives the points
of its curve (``curve``), its length (``length_ns``, or None if it has no end), and its highest load
(``peak_percent``).
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from loadgen.config.base import LIST, MAPPING, Part, as_tuple
from loadgen.config.text import nearest, shown
from loadgen.config.units import (
    MAX_DURATION_NS,
    DurationNs,
    Percent,
    PositiveDurationNs,
    TimeOfDay,
    format_duration,
    format_percent,
    problem,
)
from loadgen.pacing import Point, shapes
from loadgen.scenario.points import DEFAULT_PEAK_PERCENT, Points, Recorded, Replay

MAX_STEPS = 10_000
#: Maximum number of bursts in a run; each burst adds 3 or 4 points to the curve.
MAX_BURSTS = 50_000
_DAY_NS = 24 * 3600 * 1_000_000_000
_DAY_S = 24 * 3600


def _bounded(length_ns: int) -> None:
    if length_ns > MAX_DURATION_NS:
        raise problem(f"lasts {format_duration(length_ns)}, longer than the 168h that a phase may last")


class StepRange(Part):
    """Steps with evenly spaced loads, from one load to another."""

    from_percent: Percent = Field(alias="from")
    """The load of the first step, in per cent of the group's rate."""
    to_percent: Percent = Field(alias="to")
    """The load of the last step, in per cent of the group's rate."""
    count: int = Field(ge=2, le=MAX_STEPS)
    """The number of steps, including the first and the last."""


_LOADS = Field(min_length=1, max_length=MAX_STEPS)


def _levels_kind(value: object) -> str:
    return MAPPING if isinstance(value, dict | StepRange) else LIST


class Steps(Part):
    """Steps of constant load, one after another."""

    steps: Annotated[
        Annotated[
            tuple[Percent, ...],
            _LOADS,
            BeforeValidator(as_tuple, json_schema_input_type=Annotated[list[Percent], _LOADS]),
            Tag(LIST),
        ]
        | Annotated[StepRange, Tag(MAPPING)],
        Discriminator(_levels_kind),
    ]
    """The loads of the steps in order, such as [50%, 100%]; or {from: 10%, to: 100%, count: 10} for evenly spaced
    loads."""
    each_ns: PositiveDurationNs = Field(alias="each")
    """How long each step lasts."""

    @property
    def levels_percent(self) -> tuple[float, ...]:
        """The load of each step, in per cent of the group's rate."""
        if isinstance(self.steps, StepRange):
            return shapes.even_loads(self.steps.from_percent, self.steps.to_percent, self.steps.count)
        return self.steps

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.peak_percent == 0:
            raise problem("has no load above 0%; at least one step needs one")
        _bounded(self.length_ns)
        return self

    @property
    def length_ns(self) -> int:
        """The length of all steps together (ns)."""
        return len(self.levels_percent) * self.each_ns

    @property
    def peak_percent(self) -> float:
        """The highest load of the steps, in per cent of the group's rate."""
        return max(self.levels_percent)

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the points of the curve."""
        return shapes.steps([level / 100 for level in self.levels_percent], self.each_ns)


class RampShape(Part):
    """The two ends of a ramp, and its length."""

    from_percent: Percent = Field(alias="from")
    """The load at the start of the ramp, in per cent of the group's rate."""
    to_percent: Percent = Field(alias="to")
    """The load at the end of the ramp, in per cent of the group's rate."""
    over_ns: PositiveDurationNs = Field(alias="over")
    """How long the ramp lasts."""


class Ramp(Part):
    """A load that rises or falls in a straight line from one value to another."""

    ramp: RampShape
    """The two loads and the length of the ramp, such as {from: 0%, to: 100%, over: 1m}."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if self.peak_percent == 0:
            raise problem("has no load above 0%; one end of the ramp needs one")
        return self

    @property
    def length_ns(self) -> int:
        """The length of the ramp (ns)."""
        return self.ramp.over_ns

    @property
    def peak_percent(self) -> float:
        """The highest load of the ramp, in per cent of the group's rate."""
        return max(self.ramp.from_percent, self.ramp.to_percent)

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the points of the curve."""
        ramp = self.ramp
        return (Point(0, ramp.from_percent / 100), Point(ramp.over_ns, ramp.to_percent / 100))


class BurstShape(Part):
    """Bursts at regular intervals."""

    base_percent: Percent = Field(alias="base")
    """The load between bursts, in per cent of the group's rate."""
    peak_percent: Percent = Field(alias="peak")
    """The load in a burst, in per cent of the group's rate."""
    every_ns: PositiveDurationNs = Field(alias="every")
    """The time from the start of one burst to the start of the next."""
    for_ns: PositiveDurationNs = Field(alias="for")
    """How long a burst lasts; it must be shorter than 'every'."""
    first_ns: DurationNs | None = Field(default=None, alias="first")
    """The start of the first burst, counted from the start of the measure phase. Without it, the first burst starts
    after 'every' minus 'for', so that each period ends with its burst."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.for_ns >= self.every_ns:
            every, lasting = format_duration(self.every_ns), format_duration(self.for_ns)
            raise problem(f"has bursts of {lasting} every {every}; 'for' must be shorter than 'every'")
        if self.peak_percent <= self.base_percent:
            peak, base = format_percent(self.peak_percent), format_percent(self.base_percent)
            raise problem(f"has the peak {peak} and the base {base}; the peak must be above the base")
        return self

    @property
    def begin_ns(self) -> int:
        """The start of the first burst, in ns from the start of the measure phase."""
        return self.every_ns - self.for_ns if self.first_ns is None else self.first_ns


class LoadBursts(Part):
    """A base load with bursts for as long as the run publishes."""

    bursts: BurstShape
    """The loads, interval and length of the bursts, such as {base: 20%, peak: 100%, every: 30s, for: 5s}."""

    @property
    def length_ns(self) -> None:
        """None, because the curve has no length of its own: the bursts go on for as long as the run publishes."""
        return None

    @property
    def peak_percent(self) -> float:
        """The load in a burst, in per cent of the group's rate."""
        return self.bursts.peak_percent

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the points of every burst that begins before ``until_ns``."""
        shape = self.bursts
        return shapes.bursts(
            shape.base_percent / 100,
            shape.peak_percent / 100,
            every_ns=shape.every_ns,
            lasting_ns=shape.for_ns,
            first_ns=shape.begin_ns,
            until_ns=until_ns,
        )


class DayShape(Part):
    """The lowest and the highest load of a day, and the length of a day in the run."""

    low_percent: Percent = Field(alias="low")
    """The lowest load, in per cent of the group's rate. It is reached half a day before and after the peak."""
    peak_percent: Percent = Field(default=DEFAULT_PEAK_PERCENT, alias="peak")
    """The load at the peak, in per cent of the group's rate."""
    peak_at: TimeOfDay
    """The time of day of the peak, such as '20:00'."""
    starts_at: TimeOfDay = 0
    """The time of day at which the measure phase begins, such as '08:00'; default is midnight."""
    day_ns: PositiveDurationNs = Field(default=_DAY_NS, alias="day")
    """How long 24 hours take in the run: 'day: 10m' compresses them to 10 minutes."""
    days: int = Field(default=1, ge=1, le=366)
    """The number of days that the curve lasts."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.peak_percent <= self.low_percent:
            peak, low = format_percent(self.peak_percent), format_percent(self.low_percent)
            raise problem(f"has the peak {peak} and the low {low}; the peak must be above the low")
        _bounded(self.day_ns * self.days)
        return self


class Daily(Part):
    """A daily load that rises and falls as a raised cosine, with its lowest point half a day from the peak."""

    daily: DayShape
    """The lowest load, the peak, its time of day and the length of a day, such as {low: 10%, peak: 100%, peak_at:
    '20:00', day: 10m}."""

    @property
    def length_ns(self) -> int:
        """The length of all days together (ns)."""
        return self.daily.day_ns * self.daily.days

    @property
    def peak_percent(self) -> float:
        """The load at the peak, in per cent of the group's rate."""
        return self.daily.peak_percent

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return a point for every 5 minutes of the day.

        `loadgen.pacing.shapes.daily` states how far the straight lines between these points are from the cosine.
        """
        day = self.daily
        return shapes.daily(
            day.low_percent / 100,
            day.peak_percent / 100,
            day_ns=day.day_ns,
            peak_at=day.peak_at / _DAY_S,
            starts_at=day.starts_at / _DAY_S,
            days=day.days,
        )


Form = Steps | Ramp | LoadBursts | Daily | Replay | Recorded
#: The class of each form of a load curve, by the key that only this form has. Pydantic names this key in the location
#: of an error.
_FORMS: dict[str, type[Part]] = {
    "steps": Steps,
    "ramp": Ramp,
    "bursts": LoadBursts,
    "daily": Daily,
    "csv": Replay,
    "points": Recorded,
}
FORM_TAGS = {key: f"<{key}>" for key in _FORMS}


def _one_form(value: object) -> object:
    """Return the value if it is a list or a mapping with the key of exactly one form; else raise an error."""
    if isinstance(value, list | tuple | Part):
        return value
    if not isinstance(value, dict):
        raise problem(
            f"must be a list of points or a mapping such as {{steps: [50%, 100%], each: 30s}}, not {shown(value)}"
        )
    found = [key for key in _FORMS if key in value]
    if len(found) > 1:
        raise problem(f"has both {found[0]} and {found[1]}; a load curve has one form")
    if not found:
        first = next(iter(value), None)
        hint = nearest(str(first), _FORMS) if first is not None else f"; forms are {', '.join(_FORMS)}"
        what = f"is of no known form: {shown(first)}" if first is not None else "is empty"
        raise problem(f"{what}{hint}")
    return value


def _tag(value: object) -> str | None:
    if isinstance(value, dict):
        return next((tag for key, tag in FORM_TAGS.items() if key in value), None)
    return next((FORM_TAGS[key] for key, form in _FORMS.items() if isinstance(value, form)), LIST)


Profile = Annotated[
    Annotated[Points, Tag(LIST)]
    | Annotated[Steps, Tag("<steps>")]
    | Annotated[Ramp, Tag("<ramp>")]
    | Annotated[LoadBursts, Tag("<bursts>")]
    | Annotated[Daily, Tag("<daily>")]
    | Annotated[Replay, Tag("<csv>")]
    | Annotated[Recorded, Tag("<points>")],
    Discriminator(_tag),
    BeforeValidator(_one_form),
]
