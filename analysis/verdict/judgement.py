"""The verdict on a run: whether its figures can be trusted.

A finding is about the harness, not about the service: a slow or lossy service measured well makes a valid run. Each
finding says what was seen, where and when, and what to do. A finding that makes the figures doubtful makes the run
degraded. A finding that makes the figures wrong, or the record incomplete, makes the run invalid.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis import text
from analysis.figures import echo, reaction_figures
from analysis.limits import LIMITS
from analysis.loading.run import Ints, Run, Window, ints
from analysis.verdict import clockbound, cpu, network, surroundings
from analysis.verdict.causes import disturbed, in_causal_order, into
from analysis.verdict.findings import Finding, Subject

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Judgement:
    """The verdict and its findings, gravest first."""

    findings: tuple[Finding, ...]

    @property
    def kind(self) -> str:
        """`valid`, `degraded` or `invalid`."""
        severities = {finding.severity for finding in self.findings}
        return "invalid" if "invalid" in severities else "degraded" if severities else "valid"

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict and its findings."""
        return {"kind": self.kind, "findings": [asdict(finding) for finding in self.findings]}


def judge(run: Run, window: Window | None, summary: dict[str, Any]) -> Judgement:
    """Return the verdict on a run from its summary's figures and its health table."""
    findings = [*_failures(run), *_record(run, window, summary)]
    if window is not None and summary["ledger"] is not None:
        around = surroundings.summarise(run, window)
        p99_ns = summary["delivery"]["headline_ns"]["p99"]
        causes = [
            *disturbed(run, window, summary),
            *surroundings.findings(around, p99_ns),
            *network.silences(summary, window),
        ]
        signs = [*_clock(summary), *_ledger(summary), *_schedule(summary), *_queue(run, window, summary)]
        health = _Health.of(run, window)
        for worker in health.workers:
            signs += _worker(health, worker, window)
        findings += in_causal_order(causes, signs)
    # Invalid findings come first. The sort is stable, so within each severity, causes stay before their effects.
    return Judgement(tuple(sorted(findings, key=lambda finding: finding.severity != "invalid")))


def _failures(run: Run) -> Iterator[Finding]:
    """Yield findings on failures that are not the service's fault but that of user code, the network or the harness."""
    for entry in (run.manifest, *run.manifest["workers"]):
        who = f"worker {entry['worker']}" if "worker" in entry else "the master"
        for failure in entry.get("failures", ()):
            own = failure["kind"] == "user code"
            subject: Subject = "user code" if own else "harness"
            times = "once" if failure["count"] == 1 else f"{failure['count']:,} times"
            where, message = text.clean(failure["where"]), text.clean(failure["message"])
            if failure["kind"] == "network":
                yield Finding(
                    "invalid",
                    "network",
                    f"the machine of {who} could not connect ({times}), which is not the service's doing: {message}",
                    "fix the machine's resolver, the target's name, or the run's permissions, then run again",
                )
                continue
            yield Finding(
                "invalid",
                subject,
                f"{'your code' if own else 'the harness'} failed {times} on {who}: {where}: {message}",
                "fix it and run again"
                if own
                else "this is a defect of the harness: please report it with the run's folder",
            )


def _record(run: Run, window: Window | None, summary: dict[str, Any]) -> Iterator[Finding]:
    if summary["status"] == "failed":
        yield Finding(
            "invalid",
            "record",
            f"the run did not finish: {text.sentence_part(summary['reason'])}",
            "remove the cause and run again; what was recorded stays in the run's folder",
        )
    elif window is None or summary["ledger"] is None:
        yield Finding("invalid", "record", "nothing was measured", "let the run reach its measure phase")
    for entry in run.manifest["workers"]:
        if entry["finished"]:
            continue
        end_ns = run.broken_off_ns.get(entry["worker"], 0)
        when = "before the measurement"
        if window is not None and end_ns > window.start_ns:
            when = f"{into(end_ns, window)} of {window.seconds:.1f} s"
        held, starved = _held(summary, entry["worker"]), surroundings.starved(run, entry)
        yield Finding(
            "invalid",
            "record",
            f"the record of worker {entry['worker']} (host {text.clean(entry['hostname'])}, pid {entry['pid']})"
            f" breaks off {when}: what its clients published and received after that is missing{held}"
            f"{'; ' + starved if starved else ''}",
            (
                "raise the memory limit, or lower the load,"
                if starved
                else "find out why it ended (killed, out of memory?)"
            )
            + " and run again; the other workers' figures are complete up to then",
        )


def _held(summary: dict[str, Any], worker: int) -> str:
    """Return the end of a sentence on the deliveries that a lost worker would have received, or an empty string."""
    for gone in summary["workers"]["gone"]:
        if gone["worker"] == worker and gone["subscriptions"]:
            return (
                f" ({gone['unobserved_deliveries']:,} deliveries to its {gone['subscriptions']:,} subscriptions"
                " were not observed)"
            )
    return ""


def _ledger(summary: dict[str, Any]) -> Iterator[Finding]:
    ledger = summary["ledger"]
    if not ledger["balances"]:
        yield Finding(
            "invalid",
            "ledger",
            f"the ledger does not balance: {ledger['expected']:,} expected, {ledger['delivered']:,} delivered,"
            f" {ledger['late']:,} late, {ledger['lost']:,} lost; {ledger['rows']:,} rows",
            "this is a defect of the harness or a damaged record: please report it with the run's folder",
        )
    if ledger["unobserved"]:
        yield Finding(
            "invalid",
            "harness",
            f"{ledger['unobserved']:,} deliveries were not observed: a failure of the harness (or an"
            " interrupt) had ended their connections, so that they count neither as delivered nor as lost",
            "see the failure above, fix or report it, and run again",
        )
    if not ledger["expected"]:
        yield Finding(
            "degraded",
            "ledger",
            "no delivery was expected",
            "let clients subscribe to the published channels, and check that the service accepts the events",
        )


def _schedule(summary: dict[str, Any]) -> Iterator[Finding]:
    publish, headline = summary["publish"], summary["delivery"]["headline_ns"]
    due = summary["ledger"]["events_due"]
    unsent = publish["events_by_status"].get("unsent", 0)
    if unsent:
        share = unsent / due
        yield Finding(
            "invalid" if share > LIMITS.unsent_wrong else "degraded",
            "schedule",
            f"{unsent:,} of {due:,} events that were due were never sent ({text.ratio(share)})",
            "the offered load was not reached: lower the rate, add workers (--processes), or raise in_flight",
        )
    for grade, reason, advice in reaction_figures.doubts(summary):
        yield Finding(grade, "schedule", reason, advice)
    own_ns, whole_ns = publish["own_lateness_ns"]["p99"], headline["p99"]
    if own_ns is None or whole_ns is None:
        return
    share = own_ns / max(whole_ns, 1)
    severity = None
    if own_ns > LIMITS.lateness_wrong_ns and share > LIMITS.lateness_wrong_share:
        severity = "invalid"
    elif own_ns > LIMITS.lateness_doubtful_ns and share > LIMITS.lateness_doubtful_share:
        severity = "degraded"
    if severity is not None:
        yield Finding(
            severity,
            "schedule",
            f"the generator itself published late: p99 {text.duration(own_ns)} of a headline p99 of"
            f" {text.duration(whole_ns)}",
            "the generator is the limit: lower the rate, add workers (--processes) or a machine",
            own_ns,
        )


def _queue(run: Run, window: Window, summary: dict[str, Any]) -> Iterator[Finding]:
    queue_ns = summary["delivery"]["receive_queue_ns"]["p99"]
    stamped = summary["connections"]["kernel_timestamps"]
    waited = queue_ns is not None and queue_ns > LIMITS.queue_doubtful_ns
    held_back = network.held_back(run, window, queue_ns) if waited else None
    if held_back is not None:
        yield held_back
    elif waited:
        yield Finding(
            "invalid" if queue_ns > LIMITS.queue_wrong_ns else "degraded",
            "queue",
            f"deliveries waited in the generator before they were read: p99 {text.duration(queue_ns)}",
            "the generator reads too slowly, which slows the service down in the end: add workers (--processes)",
            queue_ns,
        )
    yield from _arrivals(summary)
    lag_ns, p99_ns = (summary["health"] or {}).get("lag_worst_ns"), summary["delivery"]["headline_ns"]["p99"]
    said = summary["delivery"]["uncertain_arrivals"] is not None
    if not said and stamped is not None and stamped < 1 and lag_ns and p99_ns and lag_ns > p99_ns / 4:
        yield Finding(
            "degraded",
            "queue",
            "without kernel timestamps the generator's own delay is part of every latency: its event loop lagged by up"
            f" to {text.duration(lag_ns)}",
            "measure on Linux, or add workers until the lag is small beside the latency",
        )


def _arrivals(summary: dict[str, Any]) -> Iterator[Finding]:
    """Yield findings on figures that are uncertain because messages share a kernel timestamp."""
    delivery, stamped = summary["delivery"], summary["connections"]["kernel_timestamps"]
    headline, shared = delivery["headline_ns"], delivery["stamps_shared"]
    advice = "the generator reads too slowly for this rate on one connection: add workers (--processes)"
    if delivery["uncertain_arrivals"] is None:
        # Records of format 2 do not say how exact each arrival is. Use the share of shared timestamps instead.
        if shared is not None and shared > LIMITS.stamps_shared:
            yield Finding(
                "degraded",
                "arrival",
                f"{text.ratio(shared)} of deliveries waited in their socket together with a later one and share its"
                " kernel timestamp: their latency is overstated by up to the time between the two",
                advice,
            )
        return
    if not headline["low"] or not headline["p99"]:
        return
    # Leave out the clocks' error (`error_ns`), which `_clock` reports.
    doubt_ns = headline["p99"] - headline["low"]["p99"] - headline["error_ns"]
    if doubt_ns > max(LIMITS.arrival_ns, LIMITS.arrival_share * headline["p99"]):
        if network.came_at_once(summary, doubt_ns):
            advice = (
                "they came at once while the generator was awake, held back by the network (loss, an outage) or the"
                " target: look there"
            )
        whose = f"of {text.ratio(shared)} of deliveries"
        if not shared:
            # `shared` leaves out the scenario's slow clients. If it is zero, only deliveries to slow clients can have
            # uncertain arrival times.
            whose = "of deliveries to clients that read slowly by `slow`"
            advice = "lower the share of slow clients, or use a percentile that does not depend on their deliveries"
        yield Finding(
            "degraded",
            "arrival",
            f"{whose} the arrival is known as an interval only: the headline p99 lies"
            f" between {text.duration(headline['low']['p99'])} and {text.duration(headline['high']['p99'])}",
            advice if stamped == 1 else "measure on Linux, where the kernel stamps what arrives",
            doubt_ns,
        )


def _clock(summary: dict[str, Any]) -> Iterator[Finding]:
    headline = summary["delivery"]["headline_ns"]
    for clock in summary["clock"]["workers"]:
        if clock["error_ns"] is None:
            yield Finding(
                "invalid",
                "clock",
                f"the offset of worker {clock['worker']}'s clock from the master's is unknown ({clock['pings']} pings)",
                "let the run be longer, and check the connection between worker and master",
            )
    clockbounds, echoes = summary["clock"].get("clockbound", []), summary.get("echo")
    for severity, reason, advice in (*clockbound.doubts(clockbounds), *echo.doubts(echoes)):
        yield Finding(severity, "clock", reason, advice)
    error_ns, p99_ns = headline["error_ns"], headline["p99"]
    if error_ns and p99_ns is not None and error_ns > max(LIMITS.clock_ns, LIMITS.clock_share * abs(p99_ns)):
        yield Finding(
            "invalid" if error_ns > abs(p99_ns) else "degraded",
            "clock",
            f"the clocks of the hosts are known to ±{text.duration(error_ns)}, beside a headline p99 of"
            f" {text.duration(p99_ns)}",
            "bring workers and master closer together on the network, or keep their clocks with PTP",
        )
    if headline["negative"] and headline["min"] is not None and headline["min"] < -(error_ns or 0):
        yield Finding(
            "degraded",
            "clock",
            f"{headline['negative']:,} headline latencies are negative, by up to {text.duration(-headline['min'])},"
            " which is more than the clocks' known error",
            "check the hosts' clocks; the figures include these samples",
            -headline["min"],
        )


@dataclass(frozen=True)
class _Health:
    """The health samples that overlap the measurement window, and the numbers of the workers that finished."""

    columns: dict[str, Ints]
    workers: list[int]

    @classmethod
    def of(cls, run: Run, window: Window) -> "_Health":
        names = (
            "worker", "time_ns", *cpu.CPU, "lag_max_ns", "gc_ns",
            "open_files", "open_files_limit", "ports", "ports_limit",
        )  # fmt: skip
        table = run.table("health", names)
        columns = {name: ints(table, name) for name in names}
        time_ns = columns["time_ns"]
        inside = (time_ns > window.start_ns) & (time_ns - columns["interval_ns"] < window.end_ns)
        columns = {name: values[inside] for name, values in columns.items()}
        return cls(columns, [entry["worker"] for entry in run.manifest["workers"] if entry["finished"]])


def _worker(health: _Health, worker: int, window: Window) -> Iterator[Finding]:
    chosen = health.columns["worker"] == worker
    at = {name: values[chosen] for name, values in health.columns.items()}
    yield from _silence(at["time_ns"] - at["interval_ns"], at["time_ns"], worker, window)
    if not len(at["time_ns"]):
        return
    more = "add workers (--processes) or a machine, or lower the load"
    yield from cpu.findings(at, worker, more)
    stalls = at["lag_max_ns"] > LIMITS.stall_ns
    if stalls.any():
        worst = int(np.argmax(at["lag_max_ns"]))
        share = at["lag_max_ns"][stalls].sum() / max(1, window.end_ns - window.start_ns)
        yield Finding(
            "invalid" if share > LIMITS.stalled_wrong else "degraded",
            "loop",
            f"worker {worker} stood still for {text.duration(int(at['lag_max_ns'][worst]))}"
            f" in the second up to {into(int(at['time_ns'][worst]), window)}",
            f"keep other work off its core, and blocking calls out of the locustfile; {more}",
            int(at["lag_max_ns"][worst]),
        )
    collecting = at["gc_ns"] > LIMITS.gc_pause_ns
    if collecting.any():
        yield Finding(
            "degraded",
            "gc",
            f"worker {worker} spent {text.duration(int(at['gc_ns'].max()))} of one second in garbage collection",
            "keep fewer objects alive in the locustfile, or add workers",
        )
    for column, limit, share, what, advice in (
        (
            "open_files",
            "open_files_limit",
            LIMITS.open_files_share,
            "open files",
            "raise it with `ulimit -n`",
        ),
        ("ports", "ports_limit", LIMITS.ports_share, "local ports", "add client addresses or machines"),
    ):
        known = at[limit] > 0
        if known.any() and (at[column][known] > share * at[limit][known]).any():
            yield Finding(
                "degraded",
                "files" if column == "open_files" else "ports",
                f"worker {worker} came close to its limit of {int(at[limit][known].max()):,} {what}:"
                f" {int(at[column].max()):,} in use",
                advice,
            )


def _silence(begins_ns: Ints, ends_ns: Ints, worker: int, window: Window) -> Iterator[Finding]:
    """Yield a finding if a worker has no health rows for longer than `LIMITS.silence_ns` within the window."""
    order = np.argsort(ends_ns)
    edges_begin = np.concatenate(([window.start_ns], ends_ns[order]))
    edges_end = np.concatenate((begins_ns[order], [window.end_ns]))
    gaps = np.minimum(edges_end, window.end_ns) - np.maximum(edges_begin, window.start_ns)
    worst = int(np.argmax(gaps))
    if gaps[worst] > LIMITS.silence_ns:
        yield Finding(
            "invalid",
            "loop",
            f"nothing is known of worker {worker} for {text.duration(int(gaps[worst]))}"
            f" from {into(int(edges_begin[worst]), window)} on",
            "it was stopped or starved: keep other work off its machine and run again",
            int(gaps[worst]),
        )
