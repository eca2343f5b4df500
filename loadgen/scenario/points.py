"""Load curves that are given by points: written in the scenario, or read from a recording."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from loadgen.config.base import Part, as_tuple
from loadgen.config.text import shown
from loadgen.config.units import DurationNs, Percent, PositiveDurationNs, format_duration, problem
from loadgen.pacing import Point

DEFAULT_PEAK_PERCENT = 100.0


class ProfilePoint(Part):
    """A point of the load curve."""

    at_ns: DurationNs = Field(alias="at")
    """The time of the point, counted from the start of the measure phase."""
    load_percent: Percent = Field(alias="load")
    """The offered load at that time, in per cent of the group's rate."""


def _in_order(points: tuple[ProfilePoint, ...]) -> tuple[ProfilePoint, ...]:
    if not points:
        raise problem("is an empty list; give it points such as {at: 0s, load: 10%} or remove it")
    for earlier, later in pairwise(points):
        if later.at_ns < earlier.at_ns:
            before, after = format_duration(earlier.at_ns), format_duration(later.at_ns)
            raise problem(f"goes back from {before} to {after}; points must be in order of time")
    for first, third in zip(points, points[2:], strict=False):
        if first.at_ns == third.at_ns:
            at = format_duration(first.at_ns)
            raise problem(f"has three points at {at}; a step is two, the load before and the load after")
    if all(point.load_percent == 0 for point in points):
        raise problem("has no load above 0%; at least one point needs one")
    return points


Points = Annotated[
    tuple[ProfilePoint, ...],
    BeforeValidator(as_tuple, json_schema_input_type=Annotated[list[ProfilePoint], Field(min_length=1)]),
    AfterValidator(_in_order),
]


class Replay(Part):
    """A recorded series of rates, read from a CSV file."""

    csv: str = Field(min_length=1)
    """The path of the file, relative to the scenario's folder. The file has a header, then a row for each point in
    time."""
    speed: float = Field(default=1.0, gt=0, le=1e6)
    """The factor by which the replay is faster than the recording: with 2, it takes half as long."""
    values: Literal["relative", "events/s"] = "relative"
    """relative: the rates are scaled so that the highest rate of the file becomes the load 'peak'. events/s: the group
    publishes at the file's rates."""
    relative_peak_percent: Percent | None = Field(default=None, alias="peak")
    """With values relative: the load at the highest rate of the file, in per cent of the group's rate; default is
    100%."""
    between: Literal["steps", "lines"] = "steps"
    """The rate between two rows. steps: the rate of the earlier row. lines: it changes in a straight line from one row
    to the next."""
    time_column: str = "time"
    """The name of the column of times, which are seconds or ISO 8601 timestamps. The first row is the start of the
    curve."""
    rate_column: str = "rate"
    """The name of the column of rates."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.values == "events/s" and self.relative_peak_percent is not None:
            raise problem("has a peak, which only relative values take; drop it or 'values: events/s'")
        if self.relative_peak_percent == 0:
            raise problem("has the peak 0%, with which nothing would be published; give it one above")
        if self.time_column == self.rate_column:
            raise problem(f"has the column {shown(self.time_column)} for both time and rate; name two")
        return self

    @property
    def peak_percent(self) -> float:
        """The load to which the file's highest rate is scaled if the values are relative, in per cent of the group's
        rate."""
        return DEFAULT_PEAK_PERCENT if self.relative_peak_percent is None else self.relative_peak_percent

    @property
    def length_ns(self) -> None:
        """None, because the length of the curve is unknown until the file is read."""
        return None

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Never called, because `loadgen.scenario.recordings` replaces this form with the points of the file."""
        raise NotImplementedError("the file has not been read")


class Recorded(Part):
    """The form that a curve from a file has in the record of a run: points and a length."""

    points: Points
    """The curve, as a list of points."""
    lasts_ns: PositiveDurationNs = Field(alias="lasts")
    """How long the curve lasts."""
    source: str = Field(default="", max_length=1000)
    """The path of the file from which the curve was read, for information only."""

    @property
    def length_ns(self) -> int:
        """The length of the curve (ns)."""
        return self.lasts_ns

    @property
    def peak_percent(self) -> float:
        """The highest load of the curve, in per cent of the group's rate."""
        return max(point.load_percent for point in self.points)

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the points."""
        return points_of(self.points)


def points_of(written: Sequence[ProfilePoint]) -> tuple[Point, ...]:
    """Convert a scenario's points to points of the schedule: a load of 150% becomes 1.5 times the rate."""
    return tuple(Point(point.at_ns, point.load_percent / 100) for point in written)
