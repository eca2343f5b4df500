"""Keeping a run from costing more than was meant, before it begins; `budget` does while it goes on."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from analysis import pricing
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.hosts import is_loopback
from loadgen.resolve import ResolvedRun
from loadgen.targets import APPSYNC_EVENTS, protocol_of

if TYPE_CHECKING:
    # Of a run that costs nothing it is not needed.
    from loadgen.planning.prices import Prices

#: From which estimate on a run against a real target must be confirmed. A million operations: more than a short run of
#: any catalogue scenario as it stands, less than anybody would miss.
CONFIRM_USD = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """What is to be said of a run's cost before it begins."""

    refusal: str | None = None
    """Why it must not begin."""
    question: str | None = None
    """What must be confirmed before it does."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A target that is not this machine."""

    name: str
    """Its host, or what it is called."""


def resolves_to_loopback(name: str) -> bool:
    """Return whether a name has addresses, all of this machine's loopback; every connect looks again (`Dialer`)."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(is_loopback(str(entry[4][0])) for entry in found)


def elsewhere(
    target: str | None, run: ResolvedRun, leads_here: Callable[[str], bool] = resolves_to_loopback
) -> Elsewhere | None:
    """Return the target if it is not this machine; None: it is, or is the embedded server.

    ``target`` is what the command line says, a URL or `aws:STACK`; without it the run's own counts. This machine
    is what is named by a loopback address or `localhost`, and a name of which ``leads_here`` says so; a private network
    is others' machines as much as AWS is. A URL that cannot be read is left to whoever has to use it.
    """
    url = _url_of(target, run)
    if url is None:
        return None
    if url.startswith("aws:"):
        return Elsewhere(f"the stack {url.removeprefix('aws:')} on AWS")
    try:
        endpoints = protocol_of(url).endpoints(url)
    except ValueError:
        return None
    if endpoints.loopback or all(is_loopback(name) or leads_here(name) for name in endpoints.hostnames):
        return None
    return Elsewhere(endpoints.host)


def protocol_for(target: str | None, run: ResolvedRun) -> TargetProtocol:
    """Return the protocol of the target that `elsewhere` looks at."""
    return protocol_of(_url_of(target, run))


def _url_of(target: str | None, run: ResolvedRun) -> str | None:
    return target or (run.target.url if run.target is not None else None)


def check(
    run: ResolvedRun,
    prices: "Prices",
    max_usd: float | None,
    where: Elsewhere | None,
    allow_remote: bool = False,
    protocol: TargetProtocol = APPSYNC_EVENTS,
) -> Check:
    """Return whether a run may begin; ``where`` is the target if it is not this machine, ``protocol`` its kind."""
    if not protocol.priced:
        return _without_prices(run, max_usd, where, allow_remote, protocol)
    if max_usd is None and where is None:
        return Check()
    if max_usd is not None and not (isfinite(max_usd) and max_usd >= 0):
        return Check(f"--max-cost must be an amount of US dollars such as 0.50, not {max_usd}")
    from loadgen.planning.estimate import cost_of

    cost = cost_of(run, prices)
    name, usd = run.name, cost.usd
    if where is not None and not allow_remote:
        return _remote(
            name, where, ", of unknown cost," if usd is None else f", about {pricing.money(usd)} on AWS,"
        )
    if usd is None:
        why = "too many channels" if cost.usage.operations["delivery"] is None else "a price is not known"
        if max_usd is not None:
            return Check(
                f"the cost of {name} cannot be estimated ({why}), so with --max-cost the run is not started:"
                " leave that out, or change the scenario"
            )
        assert where is not None
        return Check(question=f"the cost of {name} against {where.name} cannot be estimated ({why})")
    if max_usd is not None and usd > max_usd:
        return Check(
            f"a run of {name} is estimated at {pricing.money(usd)} on AWS, more than --max-cost"
            f" {pricing.money(max_usd)}: it is not started; `loadgen plan` says what costs how much"
        )
    if where is not None and usd >= CONFIRM_USD:
        return Check(
            question=f"a run of {name} against {where.name} is estimated at {pricing.money(usd)} on AWS"
        )
    return Check()


def _remote(name: str, where: Elsewhere, about: str) -> Check:
    return Check(
        f"the target is {where.name}, which is not this machine (no loopback address): a run of {name}"
        f" there{about} starts only with --allow-remote"
    )


def _without_prices(
    run: ResolvedRun,
    max_usd: float | None,
    where: Elsewhere | None,
    allow_remote: bool,
    protocol: TargetProtocol,
) -> Check:
    if max_usd is not None:
        return Check(
            f"no prices of {protocol.title} are known here, so --max-cost has nothing to go by: leave it out"
        )
    if where is not None and not allow_remote:
        return _remote(run.name, where, ", of unknown cost," if protocol.bills else "")
    if where is not None and protocol.bills:
        return Check(
            question=f"{protocol.title} bills each message, and what a run of {run.name} against {where.name}"
            " costs is not known here"
        )
    return Check()


def unconfirmed(question: str) -> str:
    """Return the refusal of a run that was not confirmed."""
    return f"{question}, and nobody can be asked: confirm it with --yes"
