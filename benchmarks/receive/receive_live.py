"""Run live displays within the receiver's process, to measure the CPU time that they add: `BENCH_LIVE=1`.

It measures the worker's report of each second, the master's sum of the reports, and the answers to Prometheus and to
the web page, without the cost of their sockets. In a run with several worker processes, the master is another process,
and only the worker's report would add to the cost of receiving. Writes the CPU time of these parts to a file, one line
per second.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

from flask import Flask
from prometheus_client import make_wsgi_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

from loadgen.live.plan import live_reports
from loadgen.live.prometheus import registry
from loadgen.live.state import LiveState
from loadgen.live.view import View
from loadgen.live.web import extend
from loadgen.measure.clock import now_ns
from loadgen.measure.recorder import Interval
from loadgen.measure.running import IntervalStatistics, Report, RunningStatistics
from loadgen.measure.sinks import Sinks
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import overrides_of
from loadgen.targets import APPSYNC_EVENTS

T = TypeVar("T")

#: File in the receiver's folder. Each line has three numbers (ns): the time, the CPU time spent on the worker's
#: reports, and the CPU time spent on all parts of the live displays.
COSTS: Final = "live-costs"
#: Approximate events per second of the benchmark. The displays compute from it which share of the events to sample.
_EVENTS_PER_S = 60


class _Counted:
    """Makes a worker's reports for the live displays, and adds up the CPU time that this takes."""

    def __init__(self, reports: RunningStatistics) -> None:
        self._reports = reports
        self.cpu_ns = 0
        self._interval: IntervalStatistics | None = None

    def begin(self, *arguments: Any) -> "_Counted":
        """Begin the report of a second."""
        self._interval = self._timed(self._reports.begin, *arguments)
        return self

    def add(self, *arguments: Any) -> None:
        """Add rows to the report of the current second."""
        assert self._interval is not None
        self._timed(self._interval.add, *arguments)

    def report(self, *arguments: Any) -> Report:
        """Return the report of the current second."""
        assert self._interval is not None
        return self._timed(self._interval.report, *arguments)

    def _timed(self, work: Callable[..., T], *arguments: Any) -> T:
        began_ns = time.thread_time_ns()
        done = work(*arguments)
        self.cpu_ns += time.thread_time_ns() - began_ns
        return done


class LiveDisplays:
    """The displays that a run shows while it receives: here for one group of ``subscribers`` subscribers."""

    def __init__(self, subscribers: int, folder: Path) -> None:
        changed = [
            f"clients.audience.count={subscribers}",
            "clients.audience.subscribe=/default/bench",
            "clients.announcer.publish.channel=/default/bench",
            f"clients.announcer.publish.rate={_EVENTS_PER_S}/s",
        ]
        scenario = load("broadcast", overrides_of(changed))
        run = resolve(scenario)
        self._costs = folder / COSTS
        self._subscribers = subscribers
        self._begun_ns = now_ns()
        reports = live_reports(run, APPSYNC_EVENTS.rules)
        reports.measure_from(self._begun_ns)
        self._worker = _Counted(reports)
        #: The sinks to pass to the recorder, so that the displays get the rows that it records.
        self.sinks = Sinks(running=cast(RunningStatistics, self._worker))
        target = {"url": "http://127.0.0.1:1/event", "protocol": "appsync-events"}
        self._state = LiveState("benchmark", run, target, [0])
        self._group = self._state.groups[0]
        self._metrics = make_wsgi_app(registry(lambda: self._state))
        ui = SimpleNamespace(
            app=Flask(__name__),
            auth_required_if_enabled=lambda view: view,
            template_args={},
            update_template_args=lambda: None,
        )
        extend(ui, "", lambda: self._state)
        self._page = ui.app
        self._cpu_ns = 0

    def second(self, interval: Interval) -> None:
        """End a second: process the report and answer requests as the master does."""
        began_ns = time.thread_time_ns()
        assert interval.report is not None
        at_ns = now_ns()
        self._state.observe(0, {**interval.report, "groups": {self._group: interval.deliveries}}, at_ns)
        self._state.tick(at_ns, self._view(at_ns))
        after = self._state.points[-1]["number"] - 1
        for app, path in (
            (self._metrics, "/metrics"),
            (self._page, f"/fan-out/data?run=benchmark&after={after}"),
        ):
            body, status, _ = run_wsgi_app(app, EnvironBuilder(path).get_environ())
            assert status.startswith("200"), status
            b"".join(body)
        self._cpu_ns += time.thread_time_ns() - began_ns
        with self._costs.open("a") as file:
            file.write(f"{at_ns} {self._worker.cpu_ns} {self._worker.cpu_ns + self._cpu_ns}\n")

    def _view(self, at_ns: int) -> View:
        up = self._subscribers
        names = ("connected", "ready", "lost_connections", "failed", "opened", "sent", "accepted")
        totals = Counter(dict.fromkeys(names, 0) | {"connected": up, "ready": up, "opened": up})
        began_ns = self._begun_ns
        elapsed_s = (at_ns - began_ns) / 1e9
        return View(
            "measure", elapsed_s, None, up, up, totals, (), {0: "here"}, frozenset(), began_ns, began_ns
        )
