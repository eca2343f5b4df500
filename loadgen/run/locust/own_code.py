"""Watch user code outside of the user classes: listeners of Locust's events, and greenlets.

Locust only logs an exception of a listener, so a run with a broken listener looks like any other. The harness counts
the exception as a failure of the user's code, and counts each request event that user code fires as a check.
"""

import logging
import os
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import gevent
from gevent import GreenletExit
from locust import log
from locust.env import Environment
from locust.event import EventHook, Events
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser

from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.measure.failures import HARNESS, USER_CODE, Failures, has_frame, is_users_file, shown_path
from loadgen.run.account import Account

#: Exceptions that a listener of Locust's `request` event may raise to end the task that made the request.
_CONTROL = (StopUser, StopTest, RescheduleTask, RescheduleTaskImmediately, InterruptTaskSet)
#: Events that Locust fires before any run; a failure in one of their listeners is a usage error.
_BEFORE = frozenset({"init", "init_command_line_parser"})


class Keeper(Protocol):
    """Gives access to the object in which failures and checks of user code are currently counted."""

    @property
    def account(self) -> "Account | Any":
        """The object that counts failures and checks now: a worker's `Agent`, or an account (see `run.account`)."""

    @property
    def past(self) -> bool:
        """True if the run is over and its record is closed."""

    def stop_process(self, reason: str, code: ExitCode) -> None:
        """Print why and exit the process."""


class OwnCode:
    """Watch the user code of one process.

    Created when the locustfile is loaded; :meth:`belong_to` later sets the object that counts failures and checks.
    """

    def __init__(self, events: Events) -> None:
        self._keeper: Keeper | None = None
        self._environment: Environment | None = None
        #: True if user code failed after the verdict was written.
        self._too_late = False
        for name, hook in vars(events).items():
            if isinstance(hook, EventHook):
                # Patch the hook, not its class: hooks created by other code stay as they are.
                hook.fire = partial(self._fire, name, hook)  # type: ignore[method-assign]
        events.request.add_listener(self._on_request)  # type: ignore[no-untyped-call]

    def belong_to(self, keeper: Keeper, environment: Environment) -> None:
        """Count failures and checks in ``keeper.account``, and from now on also errors in this process's greenlets."""
        self._keeper, self._environment = keeper, environment
        hub = gevent.get_hub()
        hub.handle_error = partial(self._on_greenlet_error, hub.handle_error)

    # The following methods count failures of listeners.

    def _fire(self, name: str, hook: EventHook, /, *, reverse: bool = False, **arguments: Any) -> None:
        """Call the listeners of an event, in place of `EventHook.fire`."""
        handlers = list(hook._handlers)
        for handler in handlers[::-1] if reverse else handlers:
            if not _is_users(handler):
                self._call_own(name, handler, arguments)
                continue
            decided = self._exit_code
            try:
                handler(**arguments)
            except GreenletExit:
                raise
            except BaseException as error:
                if name == "request" and isinstance(error, _CONTROL):
                    raise
                self._failed(name, f"{name} listener {_name(handler)}", error)
            finally:
                self._keep(decided)
        if name == "quitting" and self._too_late and not self._exit_code:
            self._exit_code = int(ExitCode.INCONCLUSIVE)

    def _call_own(self, name: str, handler: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Call a listener of Locust or of the harness, as Locust would."""
        try:
            handler(**arguments)
        except _CONTROL:
            raise
        except Exception as error:
            caller = _calling_place()
            if caller is not None and not has_frame(error, USER_CODE):
                # The listener does not accept the arguments with which user code fired the event: the user code has
                # failed.
                self._failed(name, f"events.{name}.fire()", error, caller)
                return
            logging.error("Uncaught exception in event handler: \n%s", traceback.format_exc())
            log.unhandled_greenlet_exception = True
            if self._keeper is not None:
                self._keeper.account.failures.add(HARNESS, f"{name} listener", error)

    def _failed(self, event: str, hook: str, error: BaseException, place: str | None = None) -> None:
        keeper = self._keeper
        if event in _BEFORE:
            found = Failures()
            found.add(USER_CODE, hook, error, place)
            (failure,) = found.to_list()
            reason = f"your code failed in {failure['where']}: {failure['message']}"
            if keeper is not None:
                keeper.stop_process(reason, ExitCode.USAGE)
            say(reason)
            os._exit(ExitCode.USAGE)
        if keeper is None:
            say(f"your code failed in {hook}: {type(error).__name__}: {error}")
            self._too_late = True
            return
        # When `test_start` fires, `past` may still refer to an earlier run of this process. A failure at this event
        # belongs to the run that is beginning, so it can still count in that run's verdict.
        self._too_late |= keeper.past and event != "test_start"
        keeper.account.failures.add(USER_CODE, hook, error, place)

    # The following methods handle the exit code, which a listener of `quitting` may set, as in Locust's documentation.

    @property
    def _exit_code(self) -> int | None:
        return None if self._environment is None else self._environment.process_exit_code

    @_exit_code.setter
    def _exit_code(self, code: int | None) -> None:
        if self._environment is not None:
            self._environment.process_exit_code = code

    def _keep(self, decided: int | None) -> None:
        """Restore the exit code ``decided`` after a listener ran. A listener may only turn a pass into a failure."""
        if decided or (decided == 0 and self._exit_code is None):
            self._exit_code = decided

    # The following method counts request events that user code fires.

    def _on_request(self, request_type: Any = "", name: Any = "", exception: Any = None, **_: Any) -> None:
        """Count a Locust `request` event as a check. The harness never fires this event, so user code has."""
        if self._keeper is not None:
            self._keeper.account.checks.count(f"{request_type} {name}".strip(), exception is None)

    # The following method counts failures of greenlets.

    def _on_greenlet_error(
        self, show: Callable[..., None], context: Any, kind: Any, value: Any, tb: Any
    ) -> None:
        """Count the exception that ended a greenlet, and show it as gevent does."""
        show(context, kind, value, tb)
        if self._keeper is None or not isinstance(value, Exception) or self._keeper.past:
            return
        for whose, what in ((USER_CODE, "a greenlet"), (HARNESS, "a greenlet")):
            if has_frame(value, whose):
                self._keeper.account.failures.add(whose, what, value)
                return


def _is_users(handler: Any) -> bool:
    """Return True if a listener is the user's, not Locust's or the harness's."""
    while isinstance(handler, partial):
        handler = handler.func
    module = getattr(handler, "__module__", None) or type(handler).__module__
    return str(module).partition(".")[0] not in ("locust", "loadgen")


def _name(handler: Any) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    return f"{getattr(handler, '__name__', type(handler).__name__)}()"


def _calling_place() -> str | None:
    """Return `file:line` of the innermost user code on the call stack, or None if there is none."""
    for frame, line in traceback.walk_stack(None):
        if is_users_file(frame.f_code.co_filename):
            return f"{shown_path(frame.f_code.co_filename)}:{line}"
    return None
