"""The live displays of a Locust master, and the task that keeps the current run's live state up to date."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import gevent

from loadgen.exits import ExitCode, RunError
from loadgen.live.coming import Coming
from loadgen.live.outcome import Outcome
from loadgen.live.state import LiveState
from loadgen.live.view import View
from loadgen.measure.clock import now_ns

#: Interval (s) at which to check whether the next data point of the live charts is due. A data point is due about once
#: a second, as soon as all workers have reported.
_TICK_S = 0.1
#: Maximum number of finished runs whose reports are served.
_OUTCOMES_KEPT: Final = 100


class Run(Protocol):
    """The part of a run on the master that live displays read; see `Coordinator`."""

    live: LiveState | None

    def view(self) -> View:
        """Return the current view of the run."""


class LiveService:
    """Update the live state periodically, and start and stop its displays.

    The displays stay empty until a run begins.
    """

    def __init__(
        self,
        prometheus: str | None,
        otel: bool,
        web_ui: Any,
        web_base_path: str,
        names: Iterable[str] = (),
    ) -> None:
        """Start the requested displays; raises RunError if one cannot start.

        ``prometheus`` is `[HOST:]PORT` or None, and ``web_ui`` is Locust's web UI or None. ``names`` are further host
        names under which the Prometheus endpoint and the web UI answer.
        """
        self._web_url: str | None = None
        self._run: Run | None = None
        self._running = False
        #: The run that the web UI's Start button will begin, or None until it is prepared.
        self._coming: Coming | None = None
        #: The results of the runs that are over, by their names.
        self._outcomes: dict[str, Outcome] = {}
        self._endpoint = self._exporter = None
        self.wanted = prometheus is not None or otel or web_ui is not None
        self._greenlet: gevent.Greenlet | None = None
        if not self.wanted:
            return
        if otel:
            from loadgen.live.otlp import Exporter

            self._exporter = Exporter(lambda: self.current() if self._running else None)
        if prometheus is not None:
            from loadgen.live.prometheus import Endpoint, address

            if web_ui is not None and address(prometheus)[1] == web_ui.port:
                raise RunError(
                    f"--prometheus: port {web_ui.port} is the web UI's, which serves the same at /metrics: leave it"
                    " out, or choose another port",
                    ExitCode.USAGE,
                )
            self._endpoint = Endpoint(prometheus, self.current, names)
        if web_ui is not None:
            from loadgen.live.entry import TOKEN_VARIABLE, token_of_environment
            from loadgen.live.web import address_of, extend, guard

            extend(web_ui, web_base_path, self.current, self._outcomes.get, lambda: self._coming)
            token, given = token_of_environment()
            guard(web_ui, token, names)
            # Print a generated token, since no one else knows it. A token that the user chose is a secret: print the
            # name of its environment variable instead.
            self._web_url = (
                f"{address_of(web_ui, web_base_path)}?token={f'${TOKEN_VARIABLE}' if given else token}"
            )
        self._greenlet = gevent.spawn(self._loop)

    def prepared(self, coming: Coming) -> None:
        """Show ``coming``, the run that the web UI's Start button will begin, until a run begins."""
        self._coming = coming

    @property
    def shown(self) -> list[str]:
        """One line for each display, with its address."""
        lines = []
        if self._web_url is not None:
            lines.append(f"web UI: {self._web_url} (press Start there; Ctrl-C here ends it)")
        if self._endpoint is not None:
            lines.append(f"Prometheus: {self._endpoint.url}")
        if self._exporter is not None:
            lines.append(f"OpenTelemetry: to {self._exporter.endpoint}")
        return lines

    def current(self) -> LiveState | None:
        """Return the state of the current or last run, or None if no run has begun yet."""
        return None if self._run is None else self._run.live

    def begin(self, run: Run) -> None:
        """Show a run that begins."""
        self._run, self._running = run, True

    def end(self) -> None:
        """Show and export the last state of a run that is over."""
        run = self._run
        if run is not None and run.live is not None:
            run.live.finish(now_ns(), run.view())
        if self._exporter is not None:
            self._exporter.flush()
        self._running = False

    def conclude(self, folder: Path, code: ExitCode) -> None:
        """Show the verdict of the run that is over, and serve the report in ``folder``."""
        state = self.current()
        if self._web_url is not None and state is not None:
            # A second run of the same name replaces the first.
            self._outcomes.pop(state.run, None)
            self._outcomes[state.run] = Outcome.of(folder, code)
            while len(self._outcomes) > _OUTCOMES_KEPT:
                del self._outcomes[next(iter(self._outcomes))]

    def close(self) -> None:
        """Stop all displays but the web UI, which Locust owns; idempotent."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._exporter is not None:
            self._exporter.close()
            self._exporter = None
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    def _loop(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            run = self._run
            if self._running and run is not None and run.live is not None:
                run.live.tick(now_ns(), run.view())
