"""The harness with a hard-working neighbour in its own process: a greenlet that keeps the interpreter busy.

Stands for a generator at its limit: between two turns of the event loop it computes, so that what a receiver would take
for the time of arrival is late by as much. The spells are short enough that the frames of one connection, which come
some 40 ms apart, seldom wait together: those that do share the kernel's stamp of the last one.
"""

import time
from typing import Any

import gevent
from locust import events

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

__all__ = ["Publisher", "ScenarioShape", "Subscriber"]

#: Computes for so long at a time, then lets the others run once.
_SPELL_NS = 500_000

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
