"""Refuse a run that may cost more than its user expects, before it starts; `budget` checks while it runs."""

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
    # Imported for types only, since a run that costs nothing does not need the module.
    from loadgen.planning.prices import Prices

#: Lowest estimate at which a run against a remote target must be confirmed. This small sum pays for a million
#: operations, more than a short run of any unchanged catalogue scenario uses.
CONFIRM_USD = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """Result of the cost check before a run starts; with neither field set the run may start."""

    refusal: str | None = None
    """Reason why the run must not start."""
    question: str | None = None
    """Statement the user must confirm before the run starts."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A target that is not this machine."""

    name: str
    """The target's host, or the name of its stack on AWS."""


def resolves_to_loopback(name: str) -> bool:
    """Return true if a name resolves to loopback addresses only. `Dialer` checks again at every connect."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(is_loopback(str(entry[4][0])) for entry in found)


def elsewhere(
    target: str | None, run: ResolvedRun, leads_here: Callable[[str], bool] = resolves_to_loopback
) -> Elsewhere | None:
    """Return the target if it is remote, or None if it is this machine or the embedded server.

    ``target`` is the command line's URL or `aws:STACK`; without it the run's own target is used. A loopback address,
    `localhost`, and a name for which ``leads_here`` is true are this machine; hosts of a private network are remote.
    For an invalid URL return None: the code that uses the URL reports the error.
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
    """Return the protocol of the URL ``target`` or, if it is None, of the run's own target."""
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
    """Return whether a run may start, must be confirmed, or is refused.

    ``max_usd`` is `--max-cost`, ``where`` the remote target, or None if the target is this machine, and ``protocol``
    the target's protocol.
    """
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
        why = (
            "its deliveries are not known"
            if cost.usage.operations["delivery"] is None
            else "a price is not known"
        )
        if run.journeys:
            why = "what its users do depends on their code"
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
            f" {pricing.money(max_usd)}: it is not started; `loadgen plan` shows the cost of each item"
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
            f"no prices of {protocol.title} are known, so --max-cost cannot be applied: leave it out"
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
    """Return the error for a run that needs confirmation if there is no terminal to ask on."""
    return f"{question}, and there is no terminal to ask: confirm it with --yes"
