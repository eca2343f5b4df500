"""Shift the wall clock of a Python process by a known amount: put this folder on PYTHONPATH.

The file named by SHIFTED_CLOCK has lines "begin_ns offset_ns drift_ppm since_ns". From the steady time
``begin_ns`` on, the wall clock is ahead by ``offset_ns``, plus ``drift_ppm`` of the steady time that has
passed since ``since_ns``. The file is read 20 times a second, so that a test can announce a step or another
rate ahead of time. Steady clocks, timers and the kernel's timestamps stay true. (faketime is no alternative:
it also replaces the waits in CPython's interpreter lock, and stalls the process for seconds at random.)
"""

import _thread
import os
import time

_path = os.environ.get("SHIFTED_CLOCK")
if _path is not None:
    _file = _path
    _true_ns, _steady_ns, _sleep = time.time_ns, time.monotonic_ns, time.sleep
    _settings: list[tuple[int, int, float, int]] = []

    def _read() -> None:
        global _settings
        with open(_file) as file:  # noqa: PTH123
            rows = [line.split() for line in file]
        # Reverse the lines, because the last line whose `begin_ns` has passed applies.
        _settings = [
            (int(begin), int(offset), float(drift), int(since)) for begin, offset, drift, since in rows
        ][::-1]

    def _follow() -> None:
        while True:
            _sleep(0.05)
            _read()

    def _time_ns() -> int:
        steady_ns = _steady_ns()
        for begin_ns, offset_ns, drift_ppm, since_ns in _settings:
            if begin_ns <= steady_ns:
                return _true_ns() + round(offset_ns + drift_ppm * 1e-6 * (steady_ns - since_ns))
        return _true_ns()

    _read()
    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
    _thread.start_new_thread(_follow, ())
