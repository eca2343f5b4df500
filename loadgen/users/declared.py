"""Check the attributes of a user class when it is created, and refuse an unsupported attribute with one sentence.

A user class of plain Locust sets the users' tasks, pace and number. User classes here play the clients of a scenario,
and the scenario sets all of these. If a `@task` or a `wait_time` were accepted and ignored, the author would get
results for another load than intended.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any, Final

from loadgen.measure.failures import is_users_file, shown_path

#: Methods that users may override, with the arguments with which the harness calls them.
HOOKS: Final[dict[str, tuple[str, ...]]] = {
    "__init__": ("environment",),
    "on_start": (),
    "on_stop": (),
    "payload": (),
    "on_delivery": ("channel", "event"),
}
_NO_TASKS: Final = (
    "clients play the scenario and run no tasks; what they do beside it goes into payload(), on_delivery(), on_start()"
    " or on_stop()"
)
_PACE: Final = "the scenario's rate says when an event is due (clients.NAME.publish.rate)"
_NUMBER: Final = "the scenario says how many clients there are (clients.NAME.count)"
_HARNESS: Final = "the harness runs its users itself"
#: Attributes of Locust's users that are not supported here, with the reason.
_REFUSED: Final = {
    "tasks": _NO_TASKS,
    "wait_time": _PACE,
    "wait_function": _PACE,
    "min_wait": _PACE,
    "max_wait": _PACE,
    "wait": _PACE,
    "weight": _NUMBER,
    "fixed_count": _NUMBER,
    "host": "the run says where the load goes (--target)",
    "run": _HARNESS,
    "start": _HARNESS,
    "stop": _HARNESS,
    "group": _HARNESS,
    "greenlet": _HARNESS,
    "live": _HARNESS,
    "role": "subclass Subscriber, Publisher or Participant to choose it",
}
#: Hooks that the user class of a journey may define.
_OF_JOURNEYS: Final = frozenset({"__init__", "on_start", "on_stop"})
#: Attributes that Locust itself sets on user classes.
_LOCUSTS: Final = frozenset({"weight", "fixed_count", "host"})
_DEFAULTS: Final[dict[str, Any]] = {"weight": 1, "fixed_count": 0}


class UserClassError(TypeError):
    """A user class declares an unsupported attribute; the text is one sentence with class, file and line."""


def demand_honoured(made: type, base: type) -> None:
    """Check a user class that was just created; ``base`` is the common base of the harness's user classes.

    Raises:
        UserClassError: the class declares an unsupported attribute, or a hook that cannot be called.
    """
    for declaring in _foreign(made):
        for name, value in list(vars(declaring).items()):
            reason = _reason(made, name, value, base)
            if reason is None and name in HOOKS:
                if inspect.getattr_static(made, name) is value:
                    reason = _misfit(name, value)
                else:
                    reason = _hidden(made, declaring, name, base)
            if reason is not None:
                raise UserClassError(f"{_place(value)}: class {made.__name__}: {reason}")


def demand_settable(of: type, name: str, value: Any, base: type) -> None:
    """Check an attribute that is being set on an existing class.

    Raises:
        UserClassError: the attribute is not supported, or is a hook that cannot be called.
    """
    if name in _LOCUSTS:
        return
    reason = _reason(of, name, value, base)
    if reason is None and name in HOOKS:
        reason = _misfit(name, value)
    if reason is not None:
        raise UserClassError(f"{_place(value)}: class {of.__name__}: {reason}")


def demand_playable(made: type, base: type) -> None:
    """Check a class of journeys that was just created; ``base`` is the harness's own base class of journeys.

    Raises:
        UserClassError: it declares an attribute that the harness itself uses, or a hook or task that cannot be called.
    """
    for declaring in _foreign(made):
        for name, value in list(vars(declaring).items()):
            reason = None
            if name in ("run", "start", "stop", "group", "greenlet", "role", "host"):
                reason = f"{name} is not honoured: {_REFUSED[name] if name != 'role' else _HARNESS}"
            elif name in _own_names(base) - {"tasks"} and name not in HOOKS:
                reason = f"{name} is the harness's own: call yours something else"
            elif name in _OF_JOURNEYS:
                reason = _misfit(name, value)
            elif "locust_task_weight" in dir(value) and isinstance(value, FunctionType):
                reason = _misfit(name, value, ())
            if reason is not None:
                raise UserClassError(f"{_place(value)}: class {made.__name__}: {reason}")


def demand_unchanged(of: type) -> None:
    """Check that a user class does not set the attributes that Locust itself sets; call this before Locust sets them.

    Raises:
        UserClassError: an attribute has another value than the default.
    """
    for name, default in _DEFAULTS.items():
        if getattr(of, name) != default:
            raise UserClassError(f"class {of.__name__}: {name} is not honoured: {_REFUSED[name]}")


def _foreign(made: type) -> Iterator[type]:
    """Yield the user's own classes among a class and its bases."""
    for each in made.__mro__:
        if each.__module__.partition(".")[0] not in ("loadgen", "locust", "builtins", "typing", "abc"):
            yield each


def _reason(made: type, name: str, value: Any, base: type) -> str | None:
    """Return why an attribute is not supported, or None if it is."""
    if "locust_task_weight" in dir(value):
        return f"@task {name} is not honoured: {_NO_TASKS}"
    if name == "tasks" and not value:
        # Locust itself sets `tasks` to an empty list on every user class, which is no task of the user.
        return None
    if name == "host" and any(
        each.__module__.startswith("locust.") and hasattr(each, "rest") for each in made.__mro__
    ):
        # Allow `host`: a base class is one of Locust's HTTP users, whose HTTP client uses it.
        return None
    if name in _REFUSED:
        return f"{name} is not honoured: {_REFUSED[name]}"
    if name in _own_names(base) and name not in HOOKS:
        return f"{name} is the harness's own: call yours something else"
    return None


def _hidden(made: type, declaring: type, name: str, base: type) -> str | None:
    """Return an error text if the harness's empty hook precedes the user's in the method resolution order."""
    order = made.__mro__
    if name not in vars(base) or order.index(declaring) < order.index(base):
        return None
    its = declaring.__name__
    return f"{name}() of {its} is hidden by ours: name {its} first among the bases"


def _own_names(base: type) -> set[str]:
    """Return the names of attributes that the harness's user classes define."""
    ours = (each for each in base.__mro__ if each.__module__.startswith("loadgen."))
    names = {name for each in ours for name in (*vars(each), *inspect.get_annotations(each))}
    return {name for name in names if not (name.startswith("__") and name.endswith("__"))} - {"abstract"}


def _misfit(name: str, value: Any, arguments: tuple[str, ...] | None = None) -> str | None:
    """Return why a method cannot be called with ``arguments`` (default: those of hook ``name``), or None if it can."""
    arguments = HOOKS[name] if arguments is None else arguments
    wanted = f"write def {name}({', '.join(('self', *arguments))})"
    if isinstance(value, property | cached_property):
        return f"{name} is a property, and must be a method: {wanted}"
    try:
        bound = value.__get__(object(), object) if hasattr(value, "__get__") else value
    except Exception:
        bound = None
    if not callable(bound):
        return f"{name} is not a method: {wanted}"
    plain = inspect.unwrap(getattr(bound, "__func__", bound))
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        return f"{name}() is async, and would never run: {wanted}"
    if inspect.isgeneratorfunction(plain):
        return f"{name}() has a yield, and would never run: {wanted}"
    # Inspect a plain function without binding it: `inspect.signature` fails for a bound method that lacks `self`.
    alone = isinstance(value, FunctionType)
    try:
        signature = inspect.signature(value if alone else bound)
    except (TypeError, ValueError):
        # Accept functions without a signature, such as some written in C: it is not known whether they can be called.
        return None
    try:
        signature.bind(*(("self",) if alone else ()), *arguments)
    except TypeError:
        called = f"with ({', '.join(arguments)})" if arguments else "without arguments"
        return f"{name}() is called {called}, which {name}{signature} does not take: {wanted}"
    return None


def place_of_function(function: Any) -> str | None:
    """Return `file:line` of a function's or method's definition, or None if it is unknown."""
    plain = getattr(function, "__func__", function)
    plain = inspect.unwrap(plain) if callable(plain) else plain
    if not isinstance(plain, FunctionType):
        return None
    return f"{shown_path(plain.__code__.co_filename)}:{plain.__code__.co_firstlineno}"


def _place(value: Any) -> str:
    """Return `file:line` of an attribute's definition or, if unknown, of the user's statement that is running."""
    if isinstance(value, FunctionType) and is_users_file(value.__code__.co_filename):
        return f"{shown_path(value.__code__.co_filename)}:{value.__code__.co_firstlineno}"
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "loadgen",
        "locust",
    ):
        frame = frame.f_back
    return f"{shown_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def say_and_end(say: Callable[[str], object], code: int) -> None:
    """Make this process exit with ``code`` if a locustfile cannot be loaded or a user class is refused.

    For a refused class, ``say`` gets the sentence that explains the refusal, and no traceback is printed. Without this
    function Python would exit with 1, the code for a run that missed its limits (gates).
    """
    before = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if isinstance(error, UserClassError):
            say(str(error))
        else:
            before(kind, error, traceback)
        if isinstance(error, UserClassError) or _while_loading(traceback):
            # Python takes its exit code from a SystemExit that the excepthook raises.
            raise SystemExit(code)

    sys.excepthook = excepthook


def _while_loading(traceback: Any) -> bool:
    """Return True if an error was raised while Locust was loading a locustfile."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == "locust.util.load_locustfile":
            return True
        traceback = traceback.tb_next
    return False
