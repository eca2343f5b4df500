"""Test limits and throttling with real cgroups, if these can be made."""

import json
import os

import pytest

from tests.measure import cgroup

SPIN = """
import json, sys, time
from loadgen.measure.surroundings import Surroundings, allowed_here
around = Surroundings()
# Where others leave it less than its quota it is not held back: then once more.
for turn in range(int(sys.argv[2])):
    began = time.monotonic_ns(); cpu = time.process_time_ns()
    while time.monotonic_ns() - began < float(sys.argv[1]) * 1e9:
        pass
    took = time.monotonic_ns() - began
    seen = around.take(took)
    if seen.throttled_periods:
        break
allowed = allowed_here()
print(json.dumps({**seen._asdict(), "took_ns": took, "cpu_ns": time.process_time_ns() - cpu, "cores": allowed.cores}))
"""


@pytest.mark.parametrize("percent", [8, 15, 30])
def test_a_real_quota_and_its_throttling_are_seen(percent: int) -> None:
    with cgroup.quota(percent / 100) as place:
        seen = json.loads(cgroup.python(SPIN, place, arguments=["0.6", "30"]))
        number = place.stat().st_ino
    assert seen["cores"] == pytest.approx(percent / 100)
    assert seen["cgroup"] == number
    assert seen["allowed_ns"] == seen["quota_ns"] == pytest.approx(seen["took_ns"] * percent / 100, rel=1e-6)
    assert 0 < seen["throttled_periods"] <= seen["quota_periods"] + 1
    # The process spins without ever waiting. So whenever it does not run, the quota throttles it or another
    # process runs.
    assert 0 < seen["throttled_ns"] <= 1.2 * seen["took_ns"]
    assert seen["cpu_ns"] < seen["took_ns"] * percent / 100 + 2 * cgroup.PERIOD_US * 1_000


def test_a_real_quota_above_its_own_cgroup_counts() -> None:
    with cgroup.quota(0.2) as outer, cgroup.group("cpu", outer) as inner:
        seen = json.loads(cgroup.python(SPIN, inner, arguments=["0.5", "30"]))
        number = outer.stat().st_ino
    assert (seen["cores"], seen["cgroup"]) == (pytest.approx(0.2), number)
    assert seen["throttled_ns"] > 0


def test_a_real_cpuset_is_what_is_allowed() -> None:
    with cgroup.group("cpuset") as place:
        first = sorted(os.sched_getaffinity(0))[0]
        (place / "cpuset.mems").write_text("0")
        (place / "cpuset.cpus").write_text(str(first))
        seen = json.loads(cgroup.python(SPIN, place, arguments=["0.1", "1"]))
    assert seen["cores"] == 1.0
    assert seen["allowed_ns"] == seen["took_ns"]


HUNGRY = """
import signal, subprocess, sys
from loadgen.run.ending import how_it_ended
code = subprocess.call([sys.executable, "-c", "x = []\\nwhile True: x.append(bytearray(b'x' * 10_000_000))"])
print(how_it_ended("worker 1", code))
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
from loadgen.run.kills import KillWatch
watch = KillWatch()
other.send_signal(signal.SIGKILL)
print(how_it_ended("worker 2", other.wait(), watch))
"""


def test_a_real_kill_for_want_of_memory_is_told_from_another() -> None:
    with cgroup.group("memory") as place:
        (place / "memory.limit_in_bytes").write_text(str(200 * 2**20))
        first, second = cgroup.python(HUNGRY, place).splitlines()
    assert first == (
        "worker 1 was ended by signal 9 (SIGKILL; out of memory: the kernel killed it, limit 200 MiB)"
    )
    assert second == "worker 2 was ended by signal 9 (SIGKILL; not for lack of memory, by the kernel's count)"
