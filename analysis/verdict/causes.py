"""Findings that cause others, such as pauses, clock steps and CPU quotas, and the order of findings.

A clock that steps by 3 s makes every event look sent 3 s late. A process that stands still for 0.2 s makes its event
loop lag and its deliveries wait, and so does a container that has used up its CPU quota. Advice on the symptom would be
wrong in these cases, so the cause is listed first and the findings that it explains refer to it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from analysis import text
from analysis.limits import LIMITS
from analysis.loading.run import Run, Window
from analysis.verdict import disturbances
from analysis.verdict.findings import Finding

#: Kind of a pause → its words in a finding.
PAUSED = {
    disturbances.STOPPED: "{was} paused for",
    disturbances.SUSPENDED: "{was} suspended with the machine for",
    disturbances.FROZEN: "stood still with the machine, clocks and all, for",
    disturbances.APART: "or the master was paused, or one of their clocks stepped, by",
}
#: Subject of a cause → the words by which other findings refer to this cause.
_NAMES = {
    "pause": "the pause",
    "network": "the silence of the connections",
    "clock": "the step of the clock",
    "throttling": "the CPU quota",
    "memory": "the lack of memory",
    "steal": "the steal",
}
#: Causes with these subjects explain any finding on a busy CPU, whatever their duration (`size_ns`).
_OF_CPU = ("throttling", "steal")
#: A cause of duration d explains a symptom of at most `_SLACK` * d + min(`_SLACK_NS`, d), as other delays add to the
#: symptom.
_SLACK, _SLACK_NS = 1.2, 50_000_000


def disturbed(run: Run, window: Window, summary: dict[str, Any]) -> list[Finding]:
    """Return the findings on pauses and clock steps from the start of the measurement to the end of its drain time."""
    end_ns = window.end_ns + (run.late_after_ns or 0)
    clock = summary["clock"]
    found = [
        _pause(run, pauses, window)
        for pauses in _together(clock["pauses"])
        if pauses[0]["start_ns"] < end_ns and pauses[0]["end_ns"] > window.start_ns
    ]
    p99_ns = summary["delivery"]["headline_ns"]["p99"]
    steps = [
        step
        for step in clock["steps"]
        if step["time_ns"] > window.start_ns and step["time_ns"] - step["within_ns"] < end_ns
    ]
    return [*found, *_stepped(steps, window, p99_ns)]


def _together(pauses: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group pauses that several processes had at the same time, as in a stopped process group or frozen container."""
    groups: list[list[dict[str, Any]]] = []
    for pause in pauses:
        for group in groups:
            first = group[0]
            if (
                first["kind"] == pause["kind"]
                and (pause["kind"] == disturbances.STOPPED or None not in (first["worker"], pause["worker"]))
                and pause["worker"] not in [other["worker"] for other in group]
                and pause["start_ns"] < first["end_ns"]
                and first["start_ns"] < pause["end_ns"]
            ):
                group.append(pause)
                break
        else:
            groups.append([pause])
    return groups


def _pause(run: Run, pauses: list[dict[str, Any]], window: Window) -> Finding:
    lasted_ns, first = max(pause["lasted_ns"] for pause in pauses), pauses[0]
    wrong = lasted_ns >= LIMITS.pause_wrong_ns or lasted_ns >= LIMITS.pause_wrong_share * (
        window.end_ns - window.start_ns
    )
    master_alone = first["kind"] == disturbances.STOPPED and all(pause["worker"] is None for pause in pauses)
    workers = sorted(pause["worker"] for pause in pauses if pause["worker"] is not None)
    everyone = first["kind"] == disturbances.STOPPED and len(workers) == len(run.manifest["workers"])
    if master_alone:
        # A pause of the master alone makes no figure wrong: the workers already know when each phase starts and ends.
        wrong = False
        who, effect = (
            "the master",
            "the master did not watch the run in that time, though its workers went on",
        )
    elif not workers:
        who, effect = "the master", "when events were due meanwhile is not known"
    elif everyone:
        who, effect = "the whole run", "what was sent and received then is not the service's doing"
    else:
        who = f"worker {workers[0]}" if len(workers) == 1 else f"workers {', '.join(map(str, workers))}"
        whose = "its" if len(workers) == 1 else "their"
        effect = f"what {whose} clients sent and received then is not the service's doing"
    happened = PAUSED[first["kind"]].format(was="were" if len(workers) > 1 and not everyone else "was")
    return Finding(
        "invalid" if wrong else "degraded",
        "pause",
        f"{who} {happened} {text.duration(lasted_ns)} at {into(first['start_ns'], window)}: {effect}",
        "let nothing stop, freeze or suspend the processes and machines of a run (SIGSTOP, a container's or virtual"
        " machine's pause, a laptop's sleep), and run again",
        lasted_ns,
    )


def _stepped(steps: list[dict[str, Any]], window: Window, p99_ns: int | None) -> Iterator[Finding]:
    """Yield a finding for each clock that stepped far enough to matter."""
    enough_ns = min(LIMITS.step_ns, max(LIMITS.clock_ns, LIMITS.clock_share * abs(p99_ns or 0)))
    by_clock: dict[int | None, list[dict[str, Any]]] = {}
    for step in steps:
        if abs(step["moved_ns"]) >= enough_ns:
            by_clock.setdefault(step["worker"], []).append(step)
    for worker, its in by_clock.items():
        largest = max(its, key=lambda step: abs(step["moved_ns"]))
        moved_ns = abs(largest["moved_ns"])
        whose = "the master" if worker is None else f"worker {worker}"
        times = "" if len(its) == 1 else f" {len(its):,} times, most"
        yield Finding(
            "invalid" if moved_ns >= LIMITS.step_ns else "degraded",
            "clock",
            f"the clock of {whose} stepped{times} by {'+' if largest['moved_ns'] > 0 else '−'}"
            f"{text.duration(moved_ns)} in the {text.duration(largest['within_ns'])} up to"
            f" {into(largest['time_ns'], window)}",
            "stop what sets the clock during a run (let NTP or chrony slew it) and run again",
            moved_ns,
        )


def in_causal_order(causes: list[Finding], signs: list[Finding]) -> list[Finding]:
    """Return the causes (largest first), then the symptoms that no cause explains, then the explained symptoms.

    ``signs`` are the symptoms. An explained symptom keeps its severity. If that is `invalid`, its cause becomes
    `invalid`, too.
    """
    causes = sorted(causes, key=lambda finding: -(finding.size_ns or 0))
    unexplained, explained = [], []
    for sign in signs:
        cause = _cause_of(sign, causes)
        if cause is None:
            unexplained.append(sign)
            continue
        if sign.severity == "invalid":
            causes[cause] = replace(causes[cause], severity="invalid")
        name = _NAMES[causes[cause].subject]
        explained.append(replace(sign, advice=f"{name} named above explains this: fix that first"))
    return [*causes, *unexplained, *explained]


def _cause_of(sign: Finding, causes: list[Finding]) -> int | None:
    """Return the index of the smallest of ``causes`` (sorted, largest first) that explains a symptom, or None."""
    for place in range(len(causes) - 1, -1, -1):
        cause = causes[place]
        if cause.subject in _NAMES and (
            (sign.subject == "cpu" and cause.subject in _OF_CPU)
            or (sign.size_ns is not None and _explains(cause, sign))
        ):
            return place
    return None


def _explains(cause: Finding, sign: Finding) -> bool:
    assert sign.size_ns is not None
    if cause.subject == "network" and sign.subject != "arrival":
        # The network can delay arrivals, but it cannot delay the generator's own work.
        return False
    return sign.size_ns <= _SLACK * (cause.size_ns or 0) + min(_SLACK_NS, cause.size_ns or 0)


def into(at_ns: int, window: Window) -> str:
    """Return a time relative to the measurement, as the end of a sentence."""
    if at_ns > window.end_ns:
        return f"{(at_ns - window.end_ns) / 1e9:.1f} s after the measurement"
    return f"{max(0, at_ns - window.start_ns) / 1e9:.1f} s into the measurement"
