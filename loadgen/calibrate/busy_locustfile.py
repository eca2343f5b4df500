"""The harness in one process with a greenlet that keeps the interpreter busy.

This imitates a generator at its limit. The greenlet computes in bursts between turns of the event loop, so a receiver
that takes arrival times from the Python clock sees an arrival up to one burst too late. The bursts are short, so that
the frames of one connection, which arrive some 40 ms apart, seldom wait in the socket together. Frames that wait
together share the kernel timestamp of the last one.
"""

import time
from typing import Any

import gevent
from locust import events

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

__all__ = ["Publisher", "ScenarioShape", "Subscriber"]

#: Length of one burst of computing (ns), after which the other greenlets run.
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
