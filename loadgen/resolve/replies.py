"""The replies of one client: their channel and their delay after the request, computed from the plan and the request.

The members of a request's payload are not trusted: they may only be texts and whole numbers of bounded length, and the
caller checks the channel by the protocol's rules.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from statistics import NormalDist
from typing import Any, Final

import msgspec

from loadgen.data.cells import at_path
from loadgen.resolve.responding import Delay, Responding, of_request
from loadgen.resolve.run import ResolvedRun, source_of
from loadgen.resolve.sampling import draw_channel, fixed_value
from loadgen.scenario.template import Template

#: Maximum length, in characters, of a value that a request's payload may put into a channel.
MOST_CHARACTERS: Final = 1_000
_CLIENT, _CHANNEL = "request.client", "request.channel."
#: Maximum number of requesting clients whose channels are cached.
_CLIENTS_KEPT: Final = 4_096


class UnanswerableError(ValueError):
    """No reply can be made to a request; the message says why, without any text from the request."""


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """The replies of one client."""

    subscription: int
    """Number of the subscription whose events are requests."""
    over_http: bool
    payload_bytes: int
    count: int
    every_ns: int
    channel: Callable[[int, str], str]
    """Returns the channel of the replies to a request. The arguments are the number of the client that published the
    request, and the request's text. Raises UnanswerableError."""
    delays_ns: Callable[[], Iterator[int]]
    """Returns the time from a request's arrival to its first reply (ns) for each request in turn."""


def reply_plan(
    run: ResolvedRun, responding: Responding, subscription: int, number: int, index: int, own: Template
) -> ReplyPlan:
    """Return the reply plan of client ``number``; ``index`` is the client's index in its group.

    ``own`` is the channel's template with the values of the client's rows filled in.
    """
    random = Random(f"{run.seed}/reply/{number}")
    of_requests = tuple(name for name in dict.fromkeys(own.names) if of_request(name))
    segments = segments_of(run)

    def channel(publisher: int, event: str) -> str:
        values = {name: _value(name, publisher, event, run, segments) for name in of_requests}
        return draw_channel(own.bind(values), run.variables, index, random)

    return ReplyPlan(
        subscription,
        responding.over_http,
        responding.payload_bytes,
        responding.count,
        responding.every_ns,
        channel,
        lambda: delays_ns(responding.after, Random(f"{run.seed}/after/{number}")),
    )


def delays_ns(delay: Delay, random: Random) -> Iterator[int]:
    """Yield delays in ns without end; each delay takes one number from ``random``, unless all are equal."""
    # Only `random()` is used, since it is the only method whose sequence Python guarantees across versions.
    while True:
        if delay.form == "fixed":
            yield round(delay.first)
            continue
        drawn = random.random()
        if delay.form == "uniform":
            yield round(delay.first + drawn * (delay.second - delay.first))
        elif delay.form == "exponential":
            yield round(-math.log(1.0 - drawn) * delay.first)
        else:
            # The normal distribution has no quantile at 0: replace 0 by the smallest step of `random()`.
            quantile = NormalDist().inv_cdf(drawn or 2.0**-53)
            yield round(delay.first * math.exp(delay.second * quantile))


def segments_of(run: ResolvedRun) -> Callable[[int], tuple[str, ...]]:
    """Return a function that, given a client's number, returns the segments of the channel that it publishes to.

    The function raises UnanswerableError if the channel is not the same for all requests of the client.
    """

    @lru_cache(maxsize=_CLIENTS_KEPT)
    def segments(publisher: int) -> tuple[str, ...]:
        group = run.group_of(publisher)
        if group.publish is None:
            raise UnanswerableError("the request comes from a client that publishes on no schedule")
        template = Template.parse(group.publish.channel)
        values: dict[str, int] = {}
        for name in template.names:
            fixed = None
            if source_of(name) is None:
                fixed = fixed_value(run.variables[name], publisher - group.first)
            if fixed is None:
                raise UnanswerableError("the request's channel is drawn for each request")
            values[name] = fixed
        return tuple(template.render(values).strip("/").split("/"))

    return segments


def _value(
    name: str, publisher: int, event: str, run: ResolvedRun, segments: Callable[[int], tuple[str, ...]]
) -> str:
    try:
        if name == _CLIENT:
            return str(publisher - run.group_of(publisher).first)
        if name.startswith(_CHANNEL):
            return segments(publisher)[int(name.removeprefix(_CHANNEL)) - 1]
    except IndexError:
        raise UnanswerableError(f"the request has no {name.removeprefix('request.')}") from None
    return _member(name.removeprefix("request."), event)


def _member(name: str, event: str) -> str:
    try:
        body: Any = msgspec.json.decode(event)
        value = at_path(body if isinstance(body, dict) else {}, name)
    except (msgspec.DecodeError, RecursionError, KeyError):
        raise UnanswerableError(f"the request has no member {name!r}") from None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnanswerableError(f"the request's member {name!r} is neither a text nor a whole number")
    text = str(value)
    if not text or len(text) > MOST_CHARACTERS:
        raise UnanswerableError(
            f"the request's member {name!r} has {len(text):,} characters; 1 to {MOST_CHARACTERS:,} are possible"
        )
    return text
