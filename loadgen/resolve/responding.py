"""The replies of a group to the events that it receives (its requests), as part of a resolved run."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from loadgen.scenario.template import Template, TemplateError

_Ns = Annotated[int, Meta(ge=0, le=3_155_760_000_000_000_000)]
#: Prefix of the request's values in the template of a reply's channel, as in ``{request.client}``.
REQUEST = "request"


class Delay(Struct, frozen=True):
    """The time from a request's arrival to its first reply.

    ``first`` is in ns: the duration itself if ``form`` is fixed, else the minimum (uniform), mean (exponential) or
    median (lognormal). ``second`` is the maximum in ns (uniform), or the standard deviation of the logarithm
    (lognormal).
    """

    form: Literal["fixed", "uniform", "exponential", "lognormal"]
    first: Annotated[float, Meta(ge=0, le=1e18)]
    second: Annotated[float, Meta(ge=0, le=1e18)] = 0.0

    def __post_init__(self) -> None:
        if self.form == "uniform" and self.second < self.first:
            raise ValueError("a uniform delay ends before it begins")
        if self.form == "lognormal" and self.second > 5:
            raise ValueError("a log-normal delay has a standard deviation of its logarithm above 5")


class Responding(Struct, frozen=True, kw_only=True):
    """The replies of a group's clients to the events of one of their subscriptions."""

    entry: Annotated[int, Meta(ge=0, le=1_000)]
    """Index of the subscription among those of the group."""
    channel: Annotated[str, Meta(max_length=100_000)]
    """Template of the replies' channel in the protocol's normal form."""
    over_http: bool
    """True to send replies over HTTP, False to send them over the client's own connection."""
    payload_bytes: Annotated[int, Meta(ge=1, le=1 << 24)]
    """Bytes of one reply's JSON text."""
    count: Annotated[int, Meta(ge=1, le=100_000)]
    """Replies to one request."""
    every_ns: _Ns
    """Time from one reply to the next; 0 if `count` is 1."""
    after: Delay


def of_request(name: str) -> bool:
    """Return whether a name in a template is a value of the request, such as ``request.client``."""
    return name.partition(".")[0] == REQUEST


def without_request(source: str) -> str:
    """Return a template with 0 for each value of the request; a template that is not valid stays as it is."""
    try:
        template = Template.parse(source)
    except TemplateError:
        return source
    bound = template.bind({name: 0 for name in template.names if of_request(name)})
    parts = [bound.texts[0]]
    for name, text in zip(bound.names, bound.texts[1:], strict=True):
        parts.append(f"{{{name}}}{text}")
    return "".join(parts)


def is_whole(source: str) -> bool:
    """Return True if a channel template is a single value of the request, so that the value is the whole channel."""
    try:
        template = Template.parse(source.strip("/"))
    except TemplateError:
        return False
    return len(template.names) == 1 and not any(template.texts) and of_request(template.names[0])
