"""Test the notes about scarce CPU and memory, before a run and in its plan."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.surroundings import Allowed
from loadgen.planning import estimate as estimates
from loadgen.planning import wording
from loadgen.planning.estimate import estimate
from loadgen.planning.fleet import Machines
from loadgen.planning.machine import PLANNED_SHARE, room_of
from loadgen.planning.prices import load_prices
from loadgen.planning.room import Room, notes, room_here
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import overrides_of
from tests.planning.test_fleet import KEPT

WIDE = Allowed(frozenset(range(8)), 8, None, 64 * 2**30, False)
THIRD = replace(WIDE, quota_cores=0.3)


def said(room: Room, processes: int = 1, embedded: bool = True) -> list[str]:
    return list(notes(room, processes, embedded))


def test_a_machine_with_room_needs_no_word() -> None:
    assert said(Room(WIDE, 0.1, 0.0)) == []
    assert said(Room(WIDE), processes=7) == []


def test_a_quota_below_what_may_be_used_is_said_with_its_size() -> None:
    (note,) = said(Room(THIRD))
    assert note.startswith(
        "a CPU quota allows 30 % of a core of the machine's 8; a worker process and the embedded server may use up to"
        " 2 cores"
    )
    (note,) = said(Room(replace(WIDE, quota_cores=2.0)), processes=3, embedded=False)
    assert "2 cores of the machine's 8; 3 worker processes may use up to 3 cores" in note
    assert said(Room(replace(WIDE, quota_cores=3.0)), processes=3, embedded=False) == []


def test_a_small_machine_is_no_container() -> None:
    assert said(Room(Allowed(frozenset({0}), 1, None, 2**30, False)), processes=4) == []


def test_memory_that_a_run_begins_beyond_is_said() -> None:
    (note,) = said(Room(replace(WIDE, memory_bytes=256 * 2**20, memory_limited=True)))
    assert note.startswith("the container's memory limit is 256 MiB")
    assert said(Room(replace(WIDE, memory_bytes=2**30, memory_limited=True))) == []


def test_a_busy_machine_is_said() -> None:
    cpu, memory = said(Room(WIDE, 0.63, 0.2))
    assert "waited for a CPU in 63 % of the last 10 s" in cpu
    assert "memory is short" in memory


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert room_here().allowed.cores
    unknown = room_here(tmp_path)
    assert unknown.waited_cpu is unknown.waited_memory is None


@given(st.floats(0.05, 16))
def test_what_a_process_is_planned_to_use_is_a_share_of_what_is_allowed(cpus: float) -> None:
    room = room_of(cpus, replace(KEPT, idle_cpu_share=0.0))
    assert room == pytest.approx(PLANNED_SHARE * min(1.0, cpus))


def planned(
    monkeypatch: pytest.MonkeyPatch, cores: float, memory: float = 64e9
) -> tuple[list[str], estimates.Estimate]:
    def kind() -> Machines:
        return Machines(cores, memory)

    monkeypatch.setattr(estimates, "this_kind", kind)
    monkeypatch.setattr(wording, "this_kind", kind)
    kept = replace(KEPT, idle_cpu_share=0.02)
    plan = estimate(
        resolve(load("comments", overrides_of(["clients.commenters.publish.rate=400/s"]))),
        load_prices(None),
        calibration=kept,
    )
    return list(wording.machine(plan)), plan


def test_a_plan_for_a_third_of_a_core_is_not_that_for_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    wide, wide_plan = planned(monkeypatch, 8.0)
    narrow, narrow_plan = planned(monkeypatch, 0.3)
    assert narrow != wide
    assert wide_plan.needs.processes is not None
    assert narrow_plan.needs.processes is not None
    assert narrow_plan.needs.processes > wide_plan.needs.processes
    assert "at 60% of the 30 % of a core allowed here each" in narrow[0]
    assert any(
        line.startswith("that is more than the 30 % of a core allowed here: raise the quota")
        for line in narrow
    )
    assert narrow_plan.fleet.machines_for_workers == narrow_plan.fleet.workers
    assert wide_plan.fleet.machines_for_workers == 1


def test_a_container_in_which_an_idle_process_is_too_much_carries_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, plan = planned(monkeypatch, 0.02)
    assert plan.needs.processes is None
    assert lines[0].startswith("worker processes: none fits here: an idle one takes 2% of a core")
    assert plan.fleet.workers is None


def test_memory_beyond_what_is_allowed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, _ = planned(monkeypatch, 8.0, memory=50e6)
    assert any("of memory in these processes" in line for line in lines)
    assert any(line.startswith("that is more than 80% of the 48 MiB allowed here") for line in lines)
