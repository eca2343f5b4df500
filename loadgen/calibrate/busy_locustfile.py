"""The harness with a hard-working neighbour in its own process: a greenlet that keeps the interpreter busy.

Stands for a generator at its limit: between two reads of its sockets it computes for milliseconds, so that what a
receiver would take for the time of arrival is late by as much.
"""

import time
from typing import Any

import gevent
from locust import events

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

__all__ = ["Publisher", "ScenarioShape", "Subscriber"]

#: Computes for so long at a time, then lets the others run once.
_SPELL_NS = 3_000_000

install()


def _compute() -> None:
    while True:
        until_ns = time.monotonic_ns() + _SPELL_NS
        while time.monotonic_ns() < until_ns:
            pass
        gevent.sleep(0)


def _on_init(**_: Any) -> None:
    gevent.spawn(_compute)


events.init.add_listener(_on_init)  # type: ignore[no-untyped-call]
