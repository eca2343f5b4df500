"""What live displays add to our receiver, all of it in the receiver's own process: `BENCH_LIVE=1`.

The worker's report of each second, the master's sum of it, and what asks for it each second: Prometheus and the page.
With several worker processes the last two are the master's, not the receive path's; here they are counted too. Counts
the CPU time of the thread that does it, so that the share is known besides the comparison.
"""

import json
import time
from collections import Counter
from typing import Any

from prometheus_client import generate_latest

from loadgen.live.plan import live_reports
from loadgen.live.prometheus import registry
from loadgen.live.state import LiveState, View
from loadgen.live.web import shown
from loadgen.measure.clock import now_ns
from loadgen.measure.live import LiveReports, Report
from loadgen.measure.recorder import Interval, Recorder
from loadgen.scenario import Plan, load, overrides_of

#: Events a second of the measurement, about: how many of them are followed depends on it.
_EVENTS_PER_S = 60


class _Counted:
    """The worker's part, with its CPU time."""

    def __init__(self, reports: LiveReports) -> None:
        self._reports = reports
        self.cpu_ns = 0

    def report(self, *arguments: Any) -> Report:
        """Make the report of a second."""
        began_ns = time.thread_time_ns()
        made = self._reports.report(*arguments)
        self.cpu_ns += time.thread_time_ns() - began_ns
        return made


class LiveDisplays:
    """Live displays of a receiver with so many subscribers."""

    def __init__(self, recorder: Recorder, subscribers: int) -> None:
        changed = [
            f"clients.audience.count={subscribers}",
            "clients.audience.subscribe=/default/bench",
            "clients.announcer.publish.channel=/default/bench",
            f"clients.announcer.publish.rate={_EVENTS_PER_S}/s",
        ]
        scenario = load("broadcast", overrides_of(changed))
        plan = Plan(scenario)
        self._subscribers = subscribers
        self._begun_ns = now_ns()
        reports = live_reports(scenario, plan)
        reports.measure_ns = self._begun_ns
        self._worker = _Counted(reports)
        recorder.live = self._worker  # type: ignore[assignment]
        self._state = LiveState(
            "benchmark", scenario, plan, {"url": "here", "protocol": "appsync-events"}, [0]
        )
        self._group = self._state.groups[0]
        self._registry = registry(lambda: self._state)
        self._cpu_ns = 0

    @property
    def cpu_s(self) -> float:
        """CPU seconds that live displays have taken."""
        return (self._worker.cpu_ns + self._cpu_ns) / 1e9

    def second(self, interval: Interval) -> None:
        """End a second: what the master does with the report, and what is asked of it."""
        began_ns = time.thread_time_ns()
        assert interval.live is not None
        at_ns = now_ns()
        self._state.observe(0, {**interval.live, "groups": {self._group: interval.deliveries}}, at_ns)
        self._state.tick(at_ns, self._view(at_ns))
        generate_latest(self._registry)
        json.dumps(shown(self._state, "benchmark", len(self._state.points) - 2))
        self._cpu_ns += time.thread_time_ns() - began_ns

    def _view(self, at_ns: int) -> View:
        up = self._subscribers
        names = ("connected", "ready", "lost_connections", "failed", "opened", "sent", "accepted")
        totals = Counter(dict.fromkeys(names, 0) | {"connected": up, "ready": up, "opened": up})
        began_ns = self._begun_ns
        elapsed_s = (at_ns - began_ns) / 1e9
        return View(
            "measure", elapsed_s, None, up, up, totals, (), {0: "here"}, frozenset(), began_ns, began_ns
        )
