"""What a user class may declare. What our classes do not honour is refused when the class is made, with one sentence.

Locust's users choose their tasks, their pace and their number; ours play the clients of a scenario, which says all of
that. A `@task` or a `wait_time` that is accepted and has no effect would make figures of another load than its author
believes.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any, Final

from loadgen.measure.failures import is_users_file, shown_path

#: The user's own methods that the harness calls, with what they are called with.
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
#: Attributes of Locust's users, and why ours do not honour them.
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
#: Locust sets these on classes itself.
_LOCUSTS: Final = frozenset({"weight", "fixed_count", "host"})
_DEFAULTS: Final[dict[str, Any]] = {"weight": 1, "fixed_count": 0}


class UserClassError(TypeError):
    """A user class declares what is not honoured; the text is one sentence with class, file and line."""


def demand_honoured(made: type, base: type) -> None:
    """Look at a class that was just made; ``base`` is what all of our user classes have in common.

    Raises:
        UserClassError: it declares what is not honoured.
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
    """Look at an attribute that is set on a class after it was made; raises UserClassError as `demand_honoured`."""
    if name in _LOCUSTS:
        return
    reason = _reason(of, name, value, base)
    if reason is None and name in HOOKS:
        reason = _misfit(name, value)
    if reason is not None:
        raise UserClassError(f"{_place(value)}: class {of.__name__}: {reason}")


def demand_unchanged(of: type) -> None:
    """Look at what Locust sets on classes itself, before it does; raises UserClassError as `demand_honoured`."""
    for name, default in _DEFAULTS.items():
        if getattr(of, name) != default:
            raise UserClassError(f"class {of.__name__}: {name} is not honoured: {_REFUSED[name]}")


def _foreign(made: type) -> Iterator[type]:
    """Yield the classes of the user's own that a class is made from."""
    for each in made.__mro__:
        if each.__module__.partition(".")[0] not in ("loadgen", "locust", "builtins", "typing", "abc"):
            yield each


def _reason(made: type, name: str, value: Any, base: type) -> str | None:
    """Return why an attribute is not honoured, or None if it is."""
    if "locust_task_weight" in dir(value):
        return f"@task {name} is not honoured: {_NO_TASKS}"
    if name == "tasks" and not value:
        # Locust gives every class a list.
        return None
    if name == "host" and any(
        each.__module__.startswith("locust.") and hasattr(each, "rest") for each in made.__mro__
    ):
        # Honoured by the HTTP client of Locust's own class.
        return None
    if name in _REFUSED:
        return f"{name} is not honoured: {_REFUSED[name]}"
    if name in _own_names(base) and name not in HOOKS:
        return f"{name} is the harness's own: call yours something else"
    return None


def _hidden(made: type, declaring: type, name: str, base: type) -> str | None:
    """Return that a hook would never be called since our own, which does nothing, stands before it."""
    order = made.__mro__
    if name not in vars(base) or order.index(declaring) < order.index(base):
        return None
    its = declaring.__name__
    return f"{name}() of {its} is hidden by ours: name {its} first among the bases"


def _own_names(base: type) -> set[str]:
    """Return the names that our classes have for themselves."""
    ours = (each for each in base.__mro__ if each.__module__.startswith("loadgen."))
    names = {name for each in ours for name in (*vars(each), *inspect.get_annotations(each))}
    return {name for name in names if not (name.startswith("__") and name.endswith("__"))} - {"abstract"}


def _misfit(name: str, value: Any) -> str | None:
    """Return why a hook cannot be called as it is, or None if it can."""
    arguments = HOOKS[name]
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
    # A function by itself: bound to an object, one without `self` has no signature.
    alone = isinstance(value, FunctionType)
    try:
        signature = inspect.signature(value if alone else bound)
    except (TypeError, ValueError):
        # Not known, as of some functions that are written in C.
        return None
    try:
        signature.bind(*(("self",) if alone else ()), *arguments)
    except TypeError:
        called = f"with ({', '.join(arguments)})" if arguments else "without arguments"
        return f"{name}() is called {called}, which {name}{signature} does not take: {wanted}"
    return None


def place_of_function(function: Any) -> str | None:
    """Return `file:line` of where a function or method is written, or None if that is not known."""
    plain = getattr(function, "__func__", function)
    plain = inspect.unwrap(plain) if callable(plain) else plain
    if not isinstance(plain, FunctionType):
        return None
    return f"{shown_path(plain.__code__.co_filename)}:{plain.__code__.co_firstlineno}"


def _place(value: Any) -> str:
    """Return `file:line` of an attribute where that is known, else of the statement that is being executed."""
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
    """Have a locustfile that cannot be loaded end this process with ``code``; a refused class with its sentence only.

    Python ends with 1 otherwise, which says that a gate failed.
    """
    before = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if isinstance(error, UserClassError):
            say(str(error))
        else:
            before(kind, error, traceback)
        if isinstance(error, UserClassError) or _while_loading(traceback):
            # A hook that raises this is how Python is told another code.
            raise SystemExit(code)

    sys.excepthook = excepthook


def _while_loading(traceback: Any) -> bool:
    """Return whether an error comes from Locust's loading of a locustfile."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == "locust.util.load_locustfile":
            return True
        traceback = traceback.tb_next
    return False
