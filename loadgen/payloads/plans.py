"""Settings from which a worker makes the payloads of a client group's events."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from loadgen.payloads.place import DEFAULT, Place

_MOST_BYTES = 1 << 24
_Bytes = Annotated[int, Meta(ge=1, le=_MOST_BYTES)]


class Stamps(Struct, frozen=True):
    """The place of the stamp in each event, and whether the stamp contains a checksum of the event."""

    place: Place = DEFAULT
    integrity: bool = False

    @property
    def are_plain(self) -> bool:
        """True if the stamp is in its default place, without a checksum; such events are the cheapest to handle."""
        return self.place.is_default and not self.integrity


PLAIN = Stamps()


class Template(Struct, frozen=True, tag="template"):
    """A body with placeholders, filled in for each event."""

    kind: Annotated[str, Meta(pattern="^(json|text|hex|base64)$")]
    written: Any
    """The template: JSON values if the kind is json, otherwise a text."""


class Lines(Struct, frozen=True, tag="lines"):
    """Payloads from a file with one message a line; ``table`` is the name of the data table with its lines."""

    table: Annotated[str, Meta(min_length=1, max_length=300)]
    file: Annotated[str, Meta(max_length=1_000)]
    """Path as the scenario gives it, for display."""
    pick: Annotated[str, Meta(pattern="^(in-turn|random|by-weight)$")]
    rows: Annotated[int, Meta(ge=1, le=100_000_000)]


class Sizes(Struct, frozen=True, tag="sizes"):
    """Padding whose size is drawn for each event from a log-normal distribution through two percentiles."""

    p50_bytes: _Bytes
    p99_bytes: _Bytes
    most_bytes: _Bytes

    def __post_init__(self) -> None:
        if not self.p50_bytes <= self.p99_bytes <= self.most_bytes:
            raise ValueError("p50, p99 and max of the sizes must not decrease")


#: None stands for padding of one size.
Payload = Template | Lines | Sizes | None


class SizeShare(Struct, frozen=True):
    """The share of a group's events that have about the same size; the shares of all sizes add up to 1."""

    bytes: Annotated[float, Meta(gt=0, le=_MOST_BYTES)]
    """Mean size of the events in this share."""
    share: Annotated[float, Meta(gt=0, le=1.000001)]
