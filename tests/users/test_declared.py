"""Test which attributes a user class may declare.

The base class is a fake, because importing the real one imports Locust, which patches its process.
"""

import functools
import re
from typing import Any

import pytest

from loadgen.users.declared import HOOKS, UserClassError, demand_honoured, demand_settable, demand_unchanged


class Base:
    """Has the same attribute names as `LoadUser`."""

    __module__ = "loadgen.users.roles"
    weight = 1
    fixed_count = 0
    abstract = True
    client_plan: object

    def run(self) -> None: ...

    def on_start(self) -> None: ...

    def on_stop(self) -> None: ...

    def payload(self) -> None: ...

    def on_delivery(self, channel: str, event: str) -> None: ...

    def check(self, name: str, ok: object) -> bool:
        return bool(ok)


def made(bases: tuple[type, ...] = (Base,), **declared: Any) -> type:
    return type("Reader", bases, {"__module__": "my_users", "tasks": [], "abstract": False, **declared})


def refusal(of: type) -> str:
    with pytest.raises(UserClassError) as caught:
        demand_honoured(of, Base)
    return str(caught.value)


def task(function: Any) -> Any:
    function.locust_task_weight = 1
    return function


async def later(self: Any) -> None: ...


def pieces(self: Any) -> Any:
    yield {}


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"browse": task(lambda self: None)}, "@task browse is not honoured: clients play the scenario"),
        ({"payload": task(lambda self: None)}, "@task payload is not honoured"),
        ({"tasks": [len]}, "tasks is not honoured"),
        ({"wait_time": lambda self: 1}, "wait_time is not honoured: the scenario's rate says"),
        ({"min_wait": 5}, "min_wait is not honoured"),
        ({"weight": 3}, "weight is not honoured: the scenario says how many clients there are"),
        ({"fixed_count": 3}, "fixed_count is not honoured"),
        ({"host": "http://x"}, "host is not honoured: the run says where the load goes (--target)"),
        ({"run": lambda self: None}, "run is not honoured: the harness runs its users itself"),
        ({"live": lambda self: None}, "live is not honoured"),
        ({"role": "publisher"}, "role is not honoured: subclass Subscriber, Publisher or Participant"),
        ({"check": lambda self, name, ok: ok}, "check is the harness's own: call yours something else"),
        ({"client_plan": 1}, "client_plan is the harness's own"),
        (
            {"payload": lambda self, x: None},
            "payload() is called without arguments, which payload(self, x) does not",
        ),
        ({"payload": lambda: None}, "payload() is called without arguments, which payload() does not take"),
        ({"payload": {"a": 1}}, "payload is not a method: write def payload(self)"),
        ({"payload": property(lambda self: {})}, "payload is a property, and must be a method"),
        ({"payload": pieces}, "payload() has a yield, and would never run"),
        ({"on_start": later}, "on_start() is async, and would never run: write def on_start(self)"),
        ({"on_delivery": lambda self, event: None}, "on_delivery() is called with (channel, event), which"),
        (
            {"on_delivery": staticmethod(lambda a, b, c: None)},
            "on_delivery() is called with (channel, event)",
        ),
        ({"on_stop": functools.wraps(later)(lambda self: None)}, "on_stop() is async"),
        ({"__init__": lambda self: None}, "__init__() is called with (environment)"),
    ],
)
def test_what_is_not_honoured_is_refused_with_one_sentence(declared: dict[str, Any], sentence: str) -> None:
    said = refusal(made(**declared))
    assert sentence in said
    assert re.match(r"tests/users/test_declared\.py:\d+: class Reader: ", said), said
    assert "\n" not in said
    # The error is the same if the user class inherits the wrong attribute from a mixin.
    mixin = type("Mixin", (), {"__module__": "my_mixins", **declared})
    assert sentence in refusal(type("Late", (mixin, Base), {"__module__": "my_users"}))


@pytest.mark.parametrize(
    "declared",
    [
        {"payload": lambda self: {}, "on_delivery": lambda self, channel, event: None},
        {"payload": lambda self, x=1: {}, "on_delivery": lambda self, *arguments: None},
        {"payload": staticmethod(dict), "on_delivery": staticmethod(lambda channel, event: None)},
        {"payload": classmethod(lambda cls: {}), "on_start": functools.partialmethod(lambda self, x: x, 1)},
        {"payload": functools.partial(dict, a=1)},
        {"__init__": lambda self, environment: None, "on_start": lambda self: None},
        {"__init__": lambda self, *arguments, **named: None, "on_stop": lambda self: None},
        {"numbers": iter(()), "_connection": 1, "helper": lambda self: 1, "abstract": True},
    ],
)
def test_what_is_honoured_is_taken(declared: dict[str, Any]) -> None:
    demand_honoured(made(**declared), Base)


def test_a_hook_that_ours_hides_is_refused() -> None:
    mixin = type("Rows", (), {"__module__": "my_mixins", "payload": lambda self: {}})
    demand_honoured(made((mixin, Base)), Base)
    said = refusal(made((Base, mixin)))
    assert "payload() of Rows is hidden by ours: name Rows first among the bases" in said


def test_a_hook_that_is_overridden_again_is_judged_by_what_is_called() -> None:
    broken = type("Broken", (), {"__module__": "my_mixins", "payload": lambda self, x: {}})
    demand_honoured(made((broken, Base), payload=lambda self: {}), Base)


def test_what_is_set_later_is_looked_at_too() -> None:
    reader = made()
    for name, other in (("wait_time", len), ("tasks", [len]), ("on_delivery", lambda self: None)):
        with pytest.raises(UserClassError):
            demand_settable(reader, name, other, Base)
    # Locust itself sets these attributes, so it is allowed to set them later.
    own = {"weight": 1, "fixed_count": 5, "host": "http://x", "tasks": []}
    for name, value in own.items():
        demand_settable(reader, name, value, Base)
    demand_unchanged(reader)
    for name in ("weight", "fixed_count"):
        with pytest.raises(UserClassError, match=name):
            demand_unchanged(type("Mine", (reader,), {name: 7}))


def test_every_hook_of_the_real_class_is_known() -> None:
    assert set(HOOKS) - {"__init__"} == {"on_start", "on_stop", "payload", "on_delivery"}
