"""Makes the wall clock of a Python process wrong by a known amount: put this folder on PYTHONPATH.

The file that SHIFTED_CLOCK names holds "offset_ns drift_ppm since_ns": the clock is ahead by the offset, and by the
drift times what the steady clock shows beyond ``since_ns``. It is read anew 20 times a second, so that a test can let
the clock step. Steady clocks, timers and the kernel's timestamps stay true. (faketime was tried: it also interposes the
waits that CPython's interpreter lock is made of, and stalls the process for seconds at random.)
"""

import _thread
import os
import time

_path = os.environ.get("SHIFTED_CLOCK")
if _path is not None:
    _file = _path
    _true_ns, _steady_ns, _sleep = time.time_ns, time.monotonic_ns, time.sleep
    _setting = (0.0, 0.0, 0.0)

    def _read() -> None:
        global _setting
        with open(_file) as file:  # noqa: PTH123
            offset_ns, drift_ppm, since_ns = map(float, file.read().split())
        _setting = (offset_ns, drift_ppm, since_ns)

    def _follow() -> None:
        while True:
            _sleep(0.05)
            _read()

    def _time_ns() -> int:
        offset_ns, drift_ppm, since_ns = _setting
        return _true_ns() + round(offset_ns + drift_ppm * 1e-6 * (_steady_ns() - since_ns))

    _read()
    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
    _thread.start_new_thread(_follow, ())
