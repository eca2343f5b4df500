"""The settings of faults: a YAML or JSON file with the units that scenarios have."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from loadgen.config.base import Part
from loadgen.config.part_file import read_part
from loadgen.config.problems import ScenarioError
from loadgen.config.units import DurationNs, EventRate, Percent, PositiveDurationNs, problem
from loadgen.server.api_keys import ConfigError


def _at_most_all(percent: float) -> float:
    if percent > 100:
        raise problem(f"must be at most 100%, not {percent:g}%")
    return percent


Share = Annotated[Percent, AfterValidator(_at_most_all)]


class Uniform(Part):
    """Evenly between two durations."""

    from_ns: DurationNs = Field(alias="from")
    """The shortest."""
    to_ns: PositiveDurationNs = Field(alias="to")
    """The longest."""


class Normal(Part):
    """Normally distributed, cut at zero."""

    mean_ns: PositiveDurationNs = Field(alias="mean")
    """The mean before the cut."""
    sd_ns: DurationNs = Field(alias="sd")
    """The standard deviation."""


class Exponential(Part):
    """Exponentially distributed."""

    mean_ns: PositiveDurationNs = Field(alias="mean")
    """The mean."""


class Lognormal(Part):
    """Log-normally distributed: many a little, few a lot."""

    median_ns: PositiveDurationNs = Field(alias="median")
    """The median."""
    sigma: float = Field(gt=0, le=5)
    """Standard deviation of the logarithm."""


class Delay(Part):
    """How long each delivery is held back; exactly one of the forms."""

    fixed_ns: DurationNs | None = Field(default=None, alias="fixed")
    """Always the same."""
    uniform: Uniform | None = None
    """Evenly distributed."""
    normal: Normal | None = None
    """Normally distributed."""
    exponential: Exponential | None = None
    """Exponentially distributed."""
    lognormal: Lognormal | None = None
    """Log-normally distributed."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = (self.fixed_ns, self.uniform, self.normal, self.exponential, self.lognormal)
        if sum(form is not None for form in given) != 1:
            raise problem("must have exactly one of fixed, uniform, normal, exponential and lognormal")
        return self

    def sampler(self, draws: random.Random) -> Callable[[], int]:
        """Return a function that draws a delay (ns)."""
        if self.fixed_ns is not None:
            fixed_ns = self.fixed_ns
            return lambda: fixed_ns
        if (uniform := self.uniform) is not None:
            return lambda: round(draws.uniform(uniform.from_ns, uniform.to_ns))
        if (normal := self.normal) is not None:
            return lambda: max(0, round(draws.gauss(normal.mean_ns, normal.sd_ns)))
        if (exponential := self.exponential) is not None:
            return lambda: round(draws.expovariate(1 / exponential.mean_ns))
        assert self.lognormal is not None
        lognormal = self.lognormal
        return lambda: round(lognormal.median_ns * draws.lognormvariate(0, lognormal.sigma))


class Repeated(Part):
    """Something that happens once or again and again, counted from the first accepted publish."""

    after_ns: DurationNs = Field(alias="after")
    """How long after the first accepted publish."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """How long until it happens again; once, where it is left out."""


class Stall(Repeated):
    """The whole server stands still."""

    for_ns: PositiveDurationNs = Field(alias="for")
    """For how long."""


class Disconnect(Repeated):
    """Connections that have subscriptions are closed."""

    share_percent: Share = Field(alias="share")
    """How many of them, drawn at random."""
    code: Annotated[int, Field(ge=1000, le=4999)] = 1001
    """Close code; 1006: the connection is cut without a close frame."""


class Admission(Part):
    """How many are let in; exactly what is above it is refused."""

    rate_per_s: EventRate = Field(alias="rate")
    """Most a second, such as 20/s, and as many at once."""


class Upgrades(Part):
    """WebSocket upgrades that are refused over HTTP, before there is a WebSocket."""

    rate_per_s: EventRate | None = Field(default=None, alias="rate")
    """Most a second that are accepted, such as 20/s; default: none is."""
    status: Annotated[int, Field(ge=400, le=599)] = 429
    """The status of those that are refused: 429 and 503 mean "not now", 401 and 403 "never"."""
    retry_after_ns: DurationNs | None = Field(default=None, alias="retry_after")
    """What Retry-After says, in whole seconds."""


class Faults(Part):
    """What goes wrong on purpose; everything may be left out."""

    seed: int = Field(default=1, ge=0)
    """Start of all draws; each kind of fault has draws of its own."""
    delay: Delay | None = None
    """How long deliveries are held back."""
    overtake: bool = False
    """Whether a delivery may overtake an earlier one of its subscription that was delayed for longer."""
    drop_percent: Share = Field(default=0.0, alias="drop")
    """Share of deliveries that are never written."""
    duplicate_percent: Share = Field(default=0.0, alias="duplicate")
    """Share of deliveries that are written twice."""
    reorder_percent: Share = Field(default=0.0, alias="reorder")
    """Share of deliveries that are held until after the next one to their subscription, or for 250 ms."""
    stalls: tuple[Stall, ...] = Field(default=(), strict=False)
    """When the server stands still."""
    disconnects: tuple[Disconnect, ...] = Field(default=(), strict=False)
    """When connections are closed."""
    throttle_per_s: EventRate | None = Field(default=None, alias="throttle")
    """Most deliveries a second over all connections, such as 5000/s; the others wait in line."""
    throttle_queue: int | None = Field(default=None, ge=1)
    """How many deliveries may wait in that line; what comes when it is full is never written. Default: no end."""
    lost_window_ns: DurationNs = Field(default=0, alias="lost_window")
    """For how long after its subscribe_success a subscription gets nothing."""
    reject_percent: Share = Field(default=0.0, alias="reject")
    """Share of events that are answered as failed within an accepted publish."""

    upgrades: Upgrades | None = None
    """Which WebSocket upgrades are refused."""
    subscribes: Admission | None = None
    """Most subscribes a second over all connections; the others are refused with LimitExceededError."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.throttle_queue is not None and self.throttle_per_s is None:
            raise problem("has throttle_queue without throttle; add 'throttle: 5000/s'")
        return self


def load_faults(path: Path) -> Faults:
    """Read settings from a file.

    Raises:
        ConfigError: it cannot be read, or says what cannot be; a line for each problem.
    """
    try:
        return read_part(path, Faults, "the faults file", "{drop: 1%}")
    except ScenarioError as error:
        raise ConfigError(str(error)) from None
