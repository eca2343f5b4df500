"""Bounds for the values of a run that a worker receives; the worker checks them, as it does not trust its master."""

from typing import Annotated, Final

from msgspec import Meta

MOST_RATE: Final = 1e15
MOST_LOAD: Final = 1e12
MOST_CLIENTS: Final = 2_000_000

#: A duration in ns of at most a century.
Ns = Annotated[int, Meta(ge=0, le=3_155_760_000_000_000_000)]
PositiveNs = Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)]
#: A number per second.
Rate = Annotated[float, Meta(gt=0, le=MOST_RATE)]
Count = Annotated[int, Meta(ge=0, le=1 << 40)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Channel = Annotated[str, Meta(max_length=100_000)]
Percent = Annotated[float, Meta(gt=0, le=100)]
