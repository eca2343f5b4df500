"""The publishes of a group, in a resolved run."""

from itertools import pairwise
from math import ceil
from typing import Annotated

from msgspec import Meta, Struct

from analysis.pricing import units
from loadgen.pacing import Pace
from loadgen.payloads.plans import Payload, SizeShare
from loadgen.payloads.plans import Template as PayloadTemplate
from loadgen.payloads.sizes import mean_of
from loadgen.payloads.template import BUILT_IN, compiled_json, compiled_text
from loadgen.resolve.bounds import MOST_LOAD, MOST_RATE, Channel, Rate


class Publishing(Struct, frozen=True, kw_only=True):
    """The publishes of a group."""

    over_http: bool
    """True to send requests over HTTP, False to send them over each client's own connection.

        The target's rules decide this, since a service may support only one of the two.
    """
    channel: Channel
    """Template of the channels to publish to, in the protocol's normal form."""
    batch: Annotated[int, Meta(ge=1, le=1_000)]
    """Events in one request."""
    payload_bytes: Annotated[int, Meta(ge=1, le=1 << 24)]
    """Bytes of one event's JSON text; their mean, rounded, if the events differ."""
    payload: Payload = None
    """How the events are made; None for padding of one size."""
    sizes: Annotated[tuple[SizeShare, ...], Meta(max_length=20_000)] = ()
    """The sizes of the events and their shares; empty if all have ``payload_bytes``."""
    example: Annotated[bytes, Meta(max_length=1 << 24)] = b""
    """The content of one event without its stamp, for readiness probes; empty if the events are padding."""
    largest_bytes: Annotated[int, Meta(ge=1, le=1 << 24)] | None = None
    """Bytes of the largest event, or None if all have ``payload_bytes``."""
    in_flight: Annotated[int, Meta(ge=1, le=100_000)] | None
    """Most HTTP requests of one client that may be unanswered at once; None if requests go over its connection."""
    events_per_s: Rate
    """Offered load of the whole group, in events per second, where its load curve is at 100 %."""
    each_client: bool
    """True if the rate was given per client, so that more clients publish more."""
    pace: Pace
    """Offered load in requests per second; times in its load curve count from the start of the warm-up."""

    @property
    def mean_bytes(self) -> float:
        """Mean size of an event in bytes."""
        return mean_of(self.sizes) if self.sizes else float(self.payload_bytes)

    @property
    def most_bytes(self) -> int:
        """Size of the largest event in bytes."""
        return self.payload_bytes if self.largest_bytes is None else self.largest_bytes

    def units(self, unit_bytes: int) -> float:
        """Return the mean number of units that an event is billed as, one for each begun ``unit_bytes`` of its size."""
        if not self.sizes:
            return units(self.payload_bytes, unit_bytes)
        return sum(each.share * units(ceil(each.bytes), unit_bytes) for each in self.sizes)

    @property
    def payload_names(self) -> tuple[str, ...]:
        """The columns of data in the payload's template."""
        if not isinstance(self.payload, PayloadTemplate):
            return ()
        compiled = (
            compiled_json(self.payload.written, None)
            if self.payload.kind == "json"
            else compiled_text(self.payload.written)
        )
        return tuple(name for name in compiled.names if name not in BUILT_IN)

    def __post_init__(self) -> None:
        points = self.pace.curve
        if not all(point.at_ns >= 0 and 0 <= point.load <= MOST_LOAD for point in points):
            raise ValueError("a load curve's loads and times must not be negative")
        if any(later.at_ns < earlier.at_ns for earlier, later in pairwise(points)):
            raise ValueError("a load curve's points must be in order of time")
        if not self.pace.requests_per_s <= MOST_RATE:
            raise ValueError(f"a group makes {self.pace.requests_per_s:g} requests/s")
