"""Remarks for a report that compares two different services instead of two builds of one service."""

from collections.abc import Sequence

from analysis import text
from analysis.compare.decide import BETTER, SAME, WORSE, Difference
from analysis.compare.profile import Profile

_APPSYNC = "appsync-events"


def names(base: Sequence[Profile], new: Sequence[Profile]) -> tuple[str, str] | None:
    """Return the names of the two services, or None if both are the same or one side has runs on several services."""
    services = [sorted({str(p.target.get("service", "")) for p in side}) for side in (base, new)]
    if any(len(found) != 1 or not found[0] for found in services):
        return None
    (first,), (second,) = services
    if first != second:
        return text.clean(first), text.clean(second)
    return None


def setup(base: Sequence[Profile], new: Sequence[Profile]) -> list[tuple[str, str, str]]:
    """Return (name, base's value, new's value) for each difference between the two sides' targets and machines."""
    sides = [_facts(side) for side in (base, new)]
    rows = []
    for what in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (facts.get(what, text.UNKNOWN) for facts in sides)
        if first != second:
            rows.append((what, first, second))
    return rows


def caveats(base: Sequence[Profile], new: Sequence[Profile]) -> list[str]:
    """Return the caveats that a reader must know before choosing a service, one sentence each."""
    both = [*base, *new]
    targets = [profile.target for profile in both]
    lines = []
    if any(target.get("embedded") for target in targets):
        lines.append(
            "AWS AppSync Events was our embedded server: it speaks the protocol, and its speed, limits and price"
            " are not AWS's"
        )
    here = sum(bool(target.get("loopback")) for target in targets)
    if here == len(targets):
        lines.append(
            "both targets shared the generator's machine: no network was in the way, and each took CPU from the other"
            " processes there"
        )
    elif here:
        lines.append(
            "one of the targets shared the generator's machine, the other was reached over a network"
        )
    if len({tuple(target.get("proxies") or ()) for target in targets}) > 1:
        lines.append(
            "the runs did not go through the same proxy, or some through none: its time is in every latency"
        )
    hosts = {str(target.get("host")) for target in targets}
    if len(hosts) > 1:
        lines.append(f"the runs were made on different machines: {', '.join(sorted(map(text.clean, hosts)))}")
    qualities = {
        str(target["setup"]["quality of service"])
        for target in targets
        if "quality of service" in target["setup"]
    }
    if any("QoS 0" in quality for quality in qualities):
        lines.append(
            "at QoS 0 the broker acknowledges no publish: how long that would take has no figure, and an event lost on"
            " its way to the broker counts as lost deliveries"
        )
    elif qualities:
        lines.append(
            "at QoS 1 each subscriber acknowledges each delivery, which AppSync Events does not ask for, and so is"
            " more work for broker and generator"
        )
    if any(_batch(profile) > 1 for profile in both):
        lines.append(
            "a request of several events is one request to AppSync Events, answered once, and a packet an event to a"
            " broker, answered when the last is"
        )
    if any(target.get("protocol") == _APPSYNC for target in targets):
        lines.append("AppSync Events promises no order of events; MQTT does, for one publisher and topic")
    return lines


def decision(sides: tuple[str, str], differences: Sequence[Difference]) -> list[str]:
    """Return sentences that list the metrics in which each service is better, both are the same, or it is undecided."""
    lines = []
    for verdict, side in ((BETTER, sides[1]), (WORSE, sides[0])):
        those = [difference for difference in differences if difference.verdict == verdict]
        if those:
            lines.append(f"{side} is better in {', '.join(map(_by_how_much, those))}")
    same = [difference.metric for difference in differences if difference.verdict == SAME]
    if same:
        lines.append(f"no difference that matters in {', '.join(same)}")
    rest = [d.metric for d in differences if d.verdict not in (BETTER, WORSE, SAME)]
    if rest:
        lines.append(f"can't tell in {', '.join(rest)}")
    return lines


def said(difference: Difference, sides: tuple[str, str]) -> str:
    """Return a metric's verdict, with the better service's name."""
    better = {BETTER: sides[1], WORSE: sides[0]}.get(difference.verdict)
    return f"{better} better" if better else difference.verdict


def why(difference: Difference, sides: tuple[str, str] | None) -> str:
    """Return a short reason for a verdict, with the better service's name if there are two services."""
    reason = difference.reason.partition(", how much")[0]
    if sides is not None:
        for verdict, side in ((BETTER, sides[1]), (WORSE, sides[0])):
            reason = reason.replace(f"{verdict} by these two", f"{side} better by these two")
        for name, side in zip(("base", "new"), sides, strict=True):
            reason = reason.replace(f"{name} has no such figure", f"{side} has no such figure")
    return reason


def _by_how_much(difference: Difference) -> str:
    if difference.change is None:
        return difference.metric
    ratio = 1 + difference.change
    return f"{difference.metric} ({text.significant(max(ratio, 1 / ratio))}\u00d7)"


def _facts(side: Sequence[Profile]) -> dict[str, str]:
    """Return facts about the targets and machines of one side's runs, by name; a fact that differs lists all values."""
    found: dict[str, dict[str, None]] = {}
    for profile in side:
        target = profile.target
        facts = {
            # Leave out the embedded server's URL: its port differs from run to run.
            "target": "the embedded server" if target.get("embedded") else target.get("url"),
            **target.get("setup", {}),
            "generator on": target.get("host"),
        }
        for what, value in facts.items():
            if value:
                found.setdefault(what, {})[text.clean(str(value))] = None
    return {what: "; ".join(values) for what, values in found.items()}


def _batch(profile: Profile) -> int:
    clients = profile.scenario.get("clients", {})
    return max((int(group.get("publish", {}).get("batch", 1)) for group in clients.values()), default=1)
