"""Call the hooks: the methods of a user class that its author may override. No other module calls hooks.

An exception of a hook is caught here and counted by hook and line. It makes the run invalid, but the client goes on.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import gevent
from gevent import GreenletExit

from loadgen.measure.failures import USER_CODE, place_of
from loadgen.measure.stamp import PayloadError, encode_members
from loadgen.users.conversation import OnDelivery
from loadgen.users.declared import place_of_function
from loadgen.users.worker import WorkerRun

#: An on_start() that runs longer than this is reported, because the client connects only after on_start() returns.
SLOW_START_S: Final = 5.0
_MOST_CHARACTERS: Final = 200
T = TypeVar("T")


class Hooks(Protocol):
    """The methods of a user object that the harness calls."""

    def on_start(self) -> object:
        """Called at the client's turn in the ramp, before it connects."""

    def on_stop(self) -> object:
        """Called after the client has closed its connection at the end of the run."""

    def payload(self) -> Any:
        """Return the members to add to the JSON object of the next event."""

    def on_delivery(self, channel: str, event: str) -> object:
        """Called after each delivery."""


class UnmadeError(Exception):
    """The hook payload() failed to return the members of an event that was due; the failure is already counted.

    The text goes into the run's record.
    """


class HookError(Exception):
    """A hook (a method of the user's own code) raised an exception. It is already counted as a failure."""


@cache
def _empty_hooks(base: type) -> tuple[object, object, object]:
    """Return the functions payload, on_delivery and on_start of a base class; on_start is None if it has none."""
    defined = vars(base)
    return defined["payload"], defined["on_delivery"], defined.get("on_start")


class UserCode:
    """Calls the hooks of one user."""

    def __init__(self, user: Hooks, base: type, run: WorkerRun) -> None:
        """Wrap the hooks of ``user``; ``base`` is the class whose hooks do nothing."""
        self._user = user
        self._run = run
        self._no_payload, self._no_on_delivery, self._no_on_start = _empty_hooks(base)

    def start(self) -> None:
        """Call on_start(). Report a call that takes long, because the client connects only after on_start() returns."""
        if getattr(self._user.on_start, "__func__", None) is self._no_on_start is not None:
            return
        what = f"on_start() has not returned after {SLOW_START_S:g} s, and its client connects only then"
        late = gevent.spawn_later(SLOW_START_S, self._run.report_error, what, False)
        try:
            with suppress(HookError):
                self._call("on_start()", self._user.on_start)
        finally:
            late.kill(block=False)

    def stop(self) -> None:
        """Call on_stop()."""
        with suppress(HookError):
            self._call("on_stop()", self._user.on_stop)

    @property
    def on_delivery(self) -> OnDelivery | None:
        """The function to call after each delivery, which never raises; None if the user does not override it."""
        hook = self._user.on_delivery
        if getattr(hook, "__func__", None) is self._no_on_delivery:
            return None
        call = self._call

        def on_delivery(channel: str, event: str) -> None:
            with suppress(HookError):
                call("on_delivery()", hook, channel, event)

        return on_delivery

    @property
    def makes_members(self) -> bool:
        """True if the user overrides payload()."""
        return getattr(self._user.payload, "__func__", None) is not self._no_payload

    def members(self) -> str:
        """Return the JSON text of the members that payload() adds to the next event, without braces.

        Raises:
            UnmadeError: payload() raised, or returned a value that cannot go into an event.
        """
        if not self.makes_members:
            return ""
        hook = self._user.payload
        try:
            value = self._call("payload()", hook)
        except HookError as error:
            raise UnmadeError(f"payload() failed at {place_of(error.__cause__ or error)}") from None
        try:
            return encode_members(value)
        except PayloadError as error:
            self._failed("payload()", error, place_of_function(hook))
            raise UnmadeError(f"payload() {error}"[:_MOST_CHARACTERS]) from None

    def too_large(self, size_bytes: int, most_bytes: int) -> None:
        """Count an event that the service refused because payload() had made it larger than the service accepts."""
        error = PayloadError(
            f"made an event of {size_bytes:,} bytes, and the service takes at most {most_bytes:,}"
        )
        self._failed("payload()", error, place_of_function(self._user.payload))

    def _call(self, name: str, hook: Callable[..., T], *arguments: object) -> T:
        """Call a hook and return its result; raises HookError if the hook raises."""
        try:
            return hook(*arguments)
        except GreenletExit as error:
            if self._run.stopping and gevent.getcurrent() is not gevent.get_hub():
                # Locust kills its users with GreenletExit after the run. Before that, only the hook's own code can have
                # raised this error.
                raise
            caught: BaseException = error
        except BaseException as error:
            # Catch every exception: StopUser would end the client, and SystemExit and KeyboardInterrupt would end the
            # process. A real Ctrl-C is not raised here, since gevent handles the signal.
            caught = error
        self._failed(name, caught, None)
        raise HookError from caught

    def _failed(self, name: str, error: BaseException, place: str | None) -> None:
        self._run.failures.add(USER_CODE, name, error, place)
