"""Test the findings about simulated machines and about this machine."""

from dataclasses import replace

import pytest

from loadgen import native
from loadgen.measure.clock_sync import ClockSync, clock_sync
from loadgen.measure.surroundings import Allowed
from loadgen.planning import doctor
from loadgen.planning.room import Room
from loadgen.transport.local_ports import PortRange

WIDE = Allowed(frozenset(range(8)), 8, None, 64 * 2**30, False)


def test_this_machine_can_be_examined() -> None:
    found = list(doctor.examine())
    names = [each.name for each in found]
    assert names[:3] == ["receive path", "real-time priority", "kernel timestamps"]
    assert {"CPUs", "memory", "open files", "local ports", "clock"} <= set(names)
    for each in found:
        assert each.found
        # A finding has advice if, and only if, something can be improved.
        assert (each.advice is not None) == (each.state in ("limited", "bad"))
        assert set(each.to_dict()) == {"name", "state", "found", "advice"}


def test_the_receive_path_is_told_apart_from_one_that_is_switched_off() -> None:
    assert doctor.receive_path(True, None).state == "good"
    off, missing = doctor.receive_path(False, "0"), doctor.receive_path(False, None)
    assert "LOADGEN_NATIVE=0" in off.found
    assert "compiler" in str(missing.advice)


@pytest.mark.skipif(not native.available, reason="only the native path asks for it")
@pytest.mark.parametrize(("may", "state"), [(True, "good"), (False, "limited")])
def test_the_priority_is_tried(may: bool, state: str) -> None:
    assert doctor.priority(lambda: may).state == state


@pytest.mark.parametrize(
    ("allowed", "state", "said"),
    [
        (WIDE, "good", "8 cores"),
        (replace(WIDE, quota_cores=1.5), "limited", "CPU quota"),
        (replace(WIDE, cpus=frozenset({0})), "limited", "affinity"),
        (replace(WIDE, cpus=frozenset({0}), machine_cpus=1), "limited", "one:"),
        (replace(WIDE, cpus=frozenset(), machine_cpus=None), "unknown", "does not tell"),
    ],
)
def test_cpus(allowed: Allowed, state: str, said: str) -> None:
    (found,) = doctor.cores(Room(allowed, 0.0, 0.0))
    assert found.state == state
    assert said in found.found


def test_a_busy_machine_is_bad_whatever_its_size() -> None:
    _, busy = doctor.cores(Room(WIDE, 0.9, 0.0))
    assert (busy.state, busy.name) == ("bad", "load")
    assert "90" in busy.found


@pytest.mark.parametrize(
    ("memory_bytes", "state"), [(None, "unknown"), (512 * 2**20, "limited"), (2**30, "good")]
)
def test_memory(memory_bytes: int | None, state: str) -> None:
    assert doctor.memory(Room(replace(WIDE, memory_bytes=memory_bytes))).state == state


@pytest.mark.parametrize(
    ("hard", "state", "connections"),
    [(None, "good", "no limit"), (1_024, "limited", "960"), (20_064, "good", "20,000")],
)
def test_open_files(hard: int | None, state: str, connections: str) -> None:
    found = doctor.open_files(hard)
    assert found.state == state
    assert connections in found.found


@pytest.mark.parametrize(
    ("range_", "state"),
    [
        (None, "unknown"),
        (PortRange(32_768, 60_999, frozenset()), "good"),
        (PortRange(60_000, 60_999, frozenset()), "limited"),
    ],
)
def test_ports(range_: PortRange | None, state: str) -> None:
    found = doctor.ports(range_)
    assert found.state == state
    if range_ is not None:
        assert f"{range_.count:,} connections" in found.found


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "unknown"),
        (ClockSync(False, 16_000_000_000), "limited"),
        (ClockSync(True, 900_000), "good"),
        (ClockSync(True, 80_000_000), "limited"),
    ],
)
def test_the_clock(found: ClockSync | None, state: str) -> None:
    assert doctor.clock(found).state == state


def test_the_kernel_tells_of_its_clock() -> None:
    found = clock_sync()
    assert found is not None
    assert found.max_error_ns >= 0
