"""The faults file: YAML or JSON, with durations, rates and percentages written as in a scenario."""

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
    """A delay drawn evenly between two durations."""

    from_ns: DurationNs = Field(alias="from")
    """Shortest delay."""
    to_ns: PositiveDurationNs = Field(alias="to")
    """Longest delay."""


class Normal(Part):
    """A normally distributed delay. Negative delays are raised to zero."""

    mean_ns: PositiveDurationNs = Field(alias="mean")
    """Mean of the normal distribution, before negative delays are raised to zero."""
    sd_ns: DurationNs = Field(alias="sd")
    """Standard deviation of the normal distribution, before negative delays are raised to zero."""


class Exponential(Part):
    """An exponentially distributed delay."""

    mean_ns: PositiveDurationNs = Field(alias="mean")
    """Mean."""


class Lognormal(Part):
    """A log-normally distributed delay: most are short, a few are long."""

    median_ns: PositiveDurationNs = Field(alias="median")
    """Median."""
    sigma: float = Field(gt=0, le=5)
    """Standard deviation of the logarithm."""


class Delay(Part):
    """The delay of each delivery; give exactly one of the distributions."""

    fixed_ns: DurationNs | None = Field(default=None, alias="fixed")
    """The same delay for every delivery."""
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
        """Return a function that draws one delay in ns."""
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
    """A fault that happens once or periodically. Its times are counted from the first accepted publish."""

    after_ns: DurationNs = Field(alias="after")
    """Time from the first accepted publish to the first occurrence."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """Time between two occurrences; by default the fault occurs once."""


class Stall(Repeated):
    """A time in which the whole server stands still."""

    for_ns: PositiveDurationNs = Field(alias="for")
    """Length of the stall."""


class Disconnect(Repeated):
    """Closes a share of the connections that have subscriptions."""

    share_percent: Share = Field(alias="share")
    """Share of the connections with subscriptions that is closed. The connections are chosen at random."""
    code: Annotated[int, Field(ge=1000, le=4999)] = 1001
    """Close code; 1006 cuts the connection without a close frame."""


class Admission(Part):
    """A limit on the rate of admitted requests; every request above the limit is refused."""

    rate_per_s: EventRate = Field(alias="rate")
    """Maximum number of requests admitted per second, such as 20/s. As many may also be admitted at once."""


class Upgrades(Part):
    """Refuses WebSocket upgrades with an HTTP status, before a WebSocket exists."""

    rate_per_s: EventRate | None = Field(default=None, alias="rate")
    """Maximum number of upgrades accepted per second, such as 20/s; by default all are refused."""
    status: Annotated[int, Field(ge=400, le=599)] = 429
    """HTTP status of a refusal; 429 and 503 mean "not now", 401 and 403 mean "never"."""
    retry_after_ns: DurationNs | None = Field(default=None, alias="retry_after")
    """Value of the Retry-After header, rounded up to whole seconds; by default the header is not sent."""


class Faults(Part):
    """A faults file; every part is optional."""

    seed: int = Field(default=1, ge=0)
    """Seed of the random draws; each kind of fault draws independently."""
    delay: Delay | None = None
    """Delay of deliveries."""
    overtake: bool = False
    """True to let a delivery overtake an earlier delivery to the same subscription whose delay is longer."""
    drop_percent: Share = Field(default=0.0, alias="drop")
    """Share of deliveries that are never written."""
    duplicate_percent: Share = Field(default=0.0, alias="duplicate")
    """Share of deliveries that are written twice."""
    reorder_percent: Share = Field(default=0.0, alias="reorder")
    """Share of deliveries that are held back until the next one to the same subscription is written, for at most 250
    ms."""
    stalls: tuple[Stall, ...] = Field(default=(), strict=False)
    """Times in which the server stands still."""
    disconnects: tuple[Disconnect, ...] = Field(default=(), strict=False)
    """Times at which connections are closed."""
    throttle_per_s: EventRate | None = Field(default=None, alias="throttle")
    """Maximum number of deliveries per second over all connections, such as 5000/s; further ones wait in a queue."""
    throttle_queue: int | None = Field(default=None, ge=1)
    """Maximum number of deliveries in the throttle's queue; further ones are dropped. By default there is no limit."""
    lost_window_ns: DurationNs = Field(default=0, alias="lost_window")
    """Time after the subscribe_success of a subscription in which it receives no events."""
    reject_percent: Share = Field(default=0.0, alias="reject")
    """Share of events in accepted publishes that are answered as failed and not delivered."""

    upgrades: Upgrades | None = None
    """WebSocket upgrades to refuse."""
    subscribes: Admission | None = None
    """Maximum subscribes per second over all connections; further ones are refused with LimitExceededError."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.throttle_queue is not None and self.throttle_per_s is None:
            raise problem("has throttle_queue without throttle; add 'throttle: 5000/s'")
        return self


def load_faults(path: Path) -> Faults:
    """Read and validate a faults file.

    Raises:
        ConfigError: the file cannot be read or is invalid; the message has a line for each problem.
    """
    try:
        return read_part(path, Faults, "the faults file", "{drop: 1%}")
    except ScenarioError as error:
        raise ConfigError(str(error)) from None
