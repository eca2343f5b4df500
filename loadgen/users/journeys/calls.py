"""Call a journey's user code and count its exceptions as failures of that code, so that journey and worker go on."""

from collections.abc import Callable

import gevent
from gevent import GreenletExit
from locust.exception import StopUser

from loadgen.measure.failures import USER_CODE
from loadgen.users.journeys.errors import JourneyError
from loadgen.users.worker import WorkerRun


def called(run: WorkerRun, name: str, code: Callable[..., object], *arguments: object) -> None:
    """Call ``code``, and count its exceptions as failures of ``name``.

    Raises:
        StopUser: the code ends the journey.
        GreenletExit: the run is over.
    """
    try:
        code(*arguments)
    except StopUser:
        raise
    except BaseException as error:
        failed(run, name, error)


def failed(run: WorkerRun, name: str, error: BaseException) -> None:
    """Count an exception of a journey's code; raise it again if the harness raised it because the run is over."""
    if isinstance(error, GreenletExit) and run.stopping and gevent.getcurrent() is not gevent.get_hub():
        raise error
    if isinstance(error, JourneyError):
        # A JourneyError is a failure of the service, which is already recorded: do not count it as a failure of user
        # code.
        run.report_error(str(error), fatal=False)
        return
    run.failures.add(USER_CODE, name, error, None)
