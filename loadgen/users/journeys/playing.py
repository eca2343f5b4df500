"""Plays one journey: one client of the run that runs the tasks of a Locust user."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Final, Protocol

import gevent
from gevent import Greenlet, GreenletExit
from locust.exception import (
    InterruptTaskSet,
    RescheduleTask,
    RescheduleTaskImmediately,
    StopUser,
)
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING, DefaultTaskSet

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS, USER_CODE
from loadgen.resolve import ClientPlan
from loadgen.users.journeys import calls
from loadgen.users.journeys.client import JourneyClient
from loadgen.users.journeys.pacing import Moments, schedule_of, wait_of
from loadgen.users.journeys.rows import OwnRows
from loadgen.users.worker import Timeline, WorkerRun

#: Locust's control exceptions, by which a task ends its task set or its user, or asks for the next task at once.
_CONTROL: Final = (InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopUser)
#: Seconds that a user's own code has to end once the run is over.
_END_S: Final = 2.0


class TaskUser(Protocol):
    """A Locust user that plays a journey (runs tasks of user code): see `user.EventsUser`."""

    client: JourneyClient
    data: OwnRows
    client_plan: ClientPlan
    environment: Any
    tasks: Any
    wait_time: Any
    _state: Any
    _taskset_instance: Any

    def on_start(self) -> object:
        """Prepare the user."""

    def on_stop(self) -> object:
        """Clean up after the user."""


class Journey:
    """Plays one client from the warm-up to the end of the run, in one or more stays (see `_Stay`)."""

    def __init__(self, run: WorkerRun, plan: ClientPlan, user: TaskUser) -> None:
        self._run, self._plan, self._first = run, plan, user
        #: Shared by all stays, so that the numbers of subscriptions and publishes continue from one stay to the next.
        self._client = JourneyClient(run, plan)
        self._stay: _Stay | None = None

    def play(self) -> None:
        """Run the tasks; return when the run is over and everything is recorded."""
        run = self._run
        if not run.wait_for_ramp(self._plan):
            return
        run.joined()
        playing: Greenlet | None = None
        try:
            self._client.log_in()
            timeline = run.wait_for_timeline()
            if timeline is not None:
                playing = gevent.spawn(self._guarded, timeline)
            run.wait_for_end()
        finally:
            if playing is not None:
                playing.kill(timeout=_END_S)
            if self._stay is not None:
                self._stay.end()
            self._client.hang_up()
            run.left()

    def _guarded(self, timeline: Timeline) -> None:
        try:
            self._stays(timeline)
        except GreenletExit:
            raise
        except BaseException as error:
            self._run.failures.add(HARNESS, "a journey", error)

    def _stays(self, timeline: Timeline) -> None:
        run, journey = self._run, self._plan.journey
        assert journey is not None
        for number, (start_ns, end_ns) in enumerate(journey.stays):
            begin_ns = timeline.warmup_ns + start_ns
            if begin_ns >= timeline.measure_end_ns:
                return
            run.wait_until(begin_ns)
            if run.publishing_over or run.stopping:
                return
            until_ns = timeline.measure_end_ns if end_ns is None else timeline.warmup_ns + end_ns
            until_ns = min(until_ns, timeline.measure_end_ns)
            user = self._first if number == 0 else self._another()
            stay = self._stay = _Stay(run, self._plan, user, self._client, number)
            stay.run(max(0, run.local_ns(until_ns) - now_ns()) / 1e9)
            if end_ns is not None and until_ns < timeline.measure_end_ns:
                self._stay = None
                stay.end()
                self._client.close()

    def _another(self) -> TaskUser:
        """Return a new user for the journey's next stay (see `_Stay`)."""
        made: Any = type(self._first)
        found: TaskUser = made(self._first.environment)
        return found


class _Stay:
    """One stay of a journey: a Locust user from its on_start() to its on_stop()."""

    def __init__(
        self, run: WorkerRun, plan: ClientPlan, user: TaskUser, client: JourneyClient, number: int
    ) -> None:
        assert plan.journey is not None
        self._run, self._user = run, user
        seed = f"{plan.journey.seed}/{number}"
        random = Random(seed)
        moments = Moments(wait_of(user, random), schedule_of(type(user)), random, self._wait_failed)
        self._moments = moments
        client.paced_by(moments)
        user.client_plan, user.data, user.client = plan, OwnRows(plan.values), client
        # Locust calls the user's `wait_time` between tasks.
        vars(user)["wait_time"] = moments.wait_s
        self._tasks = _Tasks(user, run, Random(seed))

    def run(self, seconds: float) -> None:
        """Call on_start() and then tasks until ``seconds`` have passed; a task that is running then may finish."""
        user = self._user
        here = gevent.getcurrent()
        stopping = gevent.spawn_later(seconds, self._stop, here)
        user._state = LOCUST_STATE_RUNNING
        user._taskset_instance = self._tasks
        try:
            self._call("on_start()", user.on_start)
            self._moments.begin()
            if user.tasks:
                self._tasks.run()  # type: ignore[no-untyped-call]
            else:
                # There are no tasks to run: the user only subscribes, or `--tags` excludes all of them.
                user._state = LOCUST_STATE_WAITING
                gevent.sleep(seconds)
        except (*_CONTROL, _Over):
            pass
        finally:
            stopping.kill(block=False)
            user._state = LOCUST_STATE_STOPPING

    def end(self) -> None:
        """Call on_stop(), while the connection is still open."""
        with suppress(*_CONTROL, GreenletExit):
            self._call("on_stop()", self._user.on_stop)

    def _stop(self, greenlet: Greenlet) -> None:
        """End the user as Locust does: at once if it waits between tasks, else after the current task."""
        if self._user._state == LOCUST_STATE_WAITING:
            greenlet.kill(_Over, block=False)
        self._user._state = LOCUST_STATE_STOPPING

    def _call(self, name: str, code: Callable[[], object]) -> None:
        calls.called(self._run, name, code)

    def _wait_failed(self, error: BaseException) -> None:
        self._run.failures.add(USER_CODE, "wait_time()", error, None)


class _Over(StopUser):
    """Raised in a user's wait between tasks if the user's time is over."""


class _Tasks(DefaultTaskSet):
    """Runs a user's tasks as Locust does, but chooses them by the run's seed and counts their exceptions."""

    def __init__(self, user: Any, run: WorkerRun, random: Random) -> None:
        super().__init__(user)
        self._run, self._random = run, random

    def get_next_task(self) -> Any:
        """Return one of the user's tasks by their weights."""
        return self._random.choice(self.user.tasks)

    def execute_task(self, task: Any) -> None:
        """Run a task, or a set of tasks until it is interrupted."""
        try:
            super().execute_task(task)  # type: ignore[no-untyped-call]
        except _CONTROL:
            raise
        except BaseException as error:
            calls.failed(self._run, f"task {getattr(task, '__name__', type(task).__name__)}()", error)
