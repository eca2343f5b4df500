"""Test findings on limits of containers, VMs and clouds, which are listed first and make a run degraded or invalid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.record import schemas
from analysis.report.page import render
from analysis.verdict import causes, surroundings
from analysis.verdict.cpu import cpu_share
from analysis.verdict.findings import Finding
from loadgen.measure.surroundings import Around
from tests.analysis.synthetic import MS, SECOND, Row, event
from tests.analysis.verdict.test_causes import LONG, findings, seconds
from tests.analysis.verdict.test_judgement import health, judged, subjects

GROUP = 4711
HOST = {"hostname": "h", "cpus": 2, "kernel": "k", "platform": "linux", "machine": "m", "boot_id": "b"}


def throttled(second: float, held_ns: int, periods: int = 10, quota: float = 0.3, **more: Any) -> Row:
    """Return a health row of a second in which a CPU quota held back the cgroup for ``held_ns`` in total.

    ``periods`` is the number of quota periods, of ten in the second, in which that happened. ``quota`` is in cores.
    """
    return health(
        second,
        **{
            "allowed_ns": int(quota * SECOND),
            "quota_ns": int(quota * SECOND),
            "cgroup": GROUP,
            "cgroup_cpu_ns": int(quota * SECOND),
            "quota_periods": 10,
            "throttled_periods": periods,
            "throttled_ns": held_ns,
            "cpu_ns": int(quota * SECOND * 0.8),
            **more,
        },
    )


def all_seconds(held_ns: int, periods: int = 10, **more: Any) -> list[Row]:
    return [throttled(n + 0.5, held_ns, periods, **more) for n in range(11)]


def workers(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"worker": n, "id": f"w{n}", "hostname": "h", "pid": n, "finished": True, "boot_id": "b", **more}
        for n in range(count)
    ]


def test_the_columns_are_those_that_workers_write() -> None:
    assert Around._fields == schemas.AROUND


def test_a_quota_that_holds_everything_back_is_named_with_its_size_beside_the_p99(tmp_path: Path) -> None:
    summary = judged(tmp_path, rows=all_seconds(640 * MS), phases=LONG)
    assert subjects(summary) == [("invalid", "throttling")]
    (finding,) = findings(summary)
    assert finding["reason"] == (
        "worker 0 was throttled: the CPU quota of 30 % of a core stopped everything under it in 11 of 11 s, for up to"
        " 64.00 % of the time, up to 640 ms in a second and about 64.0 ms at a time, beside a headline p99 of 4.00 ms"
    )
    assert summary["exit_code"] == 3
    (group,) = summary["surroundings"]
    assert (group["workers"], group["quota_cores"], group["throttled_ns"]) == ([0], 0.3, 11 * 640 * MS)
    assert (group["throttled_seconds"], group["throttled_stall_ns"]) == (11, 64 * MS)
    assert group["quota_used"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("held_ns", "periods", "severity"),
    [
        (0, 0, None),
        # One short stop in each second takes far less than 0.5 % of the time, so a p99 does not show it.
        (100_000, 1, None),
        # The stops take more than 0.5 % of the time, but each stop is short compared with the latency's p99.
        (8 * MS, 40, None),
        (8 * MS, 1, "degraded"),
        (30 * MS, 1, "invalid"),
        (30 * MS, 40, "degraded"),
        (120 * MS, 600, "invalid"),
    ],
)
def test_it_is_as_grave_as_what_it_does_to_the_p99(
    tmp_path: Path, held_ns: int, periods: int, severity: str | None
) -> None:
    rows = all_seconds(held_ns, periods, quota_periods=10 if periods <= 10 else 1000)
    summary = judged(tmp_path, rows=rows, phases=LONG)
    assert subjects(summary) == ([(severity, "throttling")] if severity else [])


@given(held_ns=st.integers(0, SECOND), periods=st.integers(1, 10), p99_ns=st.integers(1, 10 * SECOND))
def test_a_run_that_is_held_back_enough_to_shift_its_p99_is_never_valid(
    held_ns: int, periods: int, p99_ns: int
) -> None:
    group = _group(throttled_share=held_ns / SECOND, held_ns=held_ns, stall_ns=held_ns // periods)
    found = list(surroundings.findings([group], p99_ns))
    in_p99 = held_ns >= SECOND // 100 and held_ns / periods > p99_ns / 10
    if in_p99:
        assert [finding.subject for finding in found] == ["throttling"]
    if not held_ns:
        assert not found


def _group(throttled_share: float, held_ns: int, stall_ns: int) -> surroundings.Surroundings:
    unknown: dict[str, Any] = dict.fromkeys(surroundings.Surroundings.__dataclass_fields__)
    nothing = dict.fromkeys(("cpu", "memory", "io"))
    return surroundings.Surroundings(
        **{
            **unknown,
            "workers": [0],
            "hostname": "h",
            "seconds": 10,
            "throttled_share": throttled_share,
            "throttled_worst_ns": held_ns,
            "throttled_stall_ns": stall_ns,
            "throttled_stretch_ns": held_ns,
            "throttled_seconds": 10,
            "pressure": nothing,
            "machine_pressure": nothing,
            "allowance_exceeded": {},
        }
    )


def test_lateness_lag_and_cpu_refer_to_the_quota(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 900 * MS) for n in range(10)]
    for row in events:
        row["sent_ns"] = row["slot_ns"] + 400 * MS
    rows = all_seconds(700 * MS, lag_max_ns=600 * MS, cpu_ns=int(0.295 * SECOND))
    summary = judged(tmp_path, events=events, rows=rows, phases=LONG)
    assert subjects(summary)[0][1] == "throttling"
    assert {subject for _, subject in subjects(summary)} == {"throttling", "schedule", "loop", "cpu"}
    for finding in findings(summary)[1:]:
        assert finding["advice"] == "the CPU quota named above explains this: fix that first"
    cpu = next(finding for finding in findings(summary) if finding["subject"] == "cpu")
    assert cpu["reason"] == (
        "worker 0 used more than 90% of the 30 % of a core that it is allowed in 11 of 11 s"
    )


def test_a_stall_that_is_longer_than_all_the_throttling_around_it_is_not_explained_by_it(
    tmp_path: Path,
) -> None:
    rows = seconds(*(throttled(n + 0.5, 12 * MS, 1) for n in range(11)))
    rows[4] = {**rows[4], "lag_max_ns": 900 * MS}
    summary = judged(tmp_path, rows=rows, phases=LONG)
    loop = next(finding for finding in findings(summary) if finding["subject"] == "loop")
    assert "blocking calls" in loop["advice"]


@pytest.mark.parametrize(
    ("held_ns", "subject"), [(700 * MS, "throttling"), (100 * MS, "pause"), (0, "pause")]
)
def test_a_stop_that_a_quota_made_is_no_stop_by_somebody(tmp_path: Path, held_ns: int, subject: str) -> None:
    # The worker stood still for 0.7 s. The quota, which has a long period, is the cause only if it throttled the worker
    # for that long.
    row = throttled(
        4.5, held_ns, 1, quota_periods=1, paused_ns=700 * MS, paused_until_ns=health(4.4)["time_ns"]
    )
    summary = judged(tmp_path, rows=seconds(row), phases=LONG)
    assert subjects(summary)[0] == ("invalid", subject)
    assert [each for each in subjects(summary) if each[1] == "pause"] == (
        [] if subject == "throttling" else [("invalid", "pause")]
    )


@pytest.mark.parametrize(
    ("manifest", "row", "said"),
    [
        ({"oom_kills": 1}, {}, "; the kernel killed a process beside the master for lack of memory"),
        ({"oom_kills": 0}, {}, None),
        (
            {},
            {"memory_bytes": 195, "memory_limit_bytes": 200},
            "; its container had used 0 MiB of its limit of 0 MiB",
        ),
        ({}, {"memory_bytes": 100, "memory_limit_bytes": 200}, None),
    ],
)
def test_a_worker_that_is_gone_for_want_of_memory_is_said_to_be(
    tmp_path: Path, manifest: dict[str, Any], row: Row, said: str | None
) -> None:
    (worker,) = workers(1, finished=False)
    rows = [health(0.5), health(0.8, **row)]
    summary = judged(tmp_path, rows=rows, workers=[worker], host=HOST, **manifest)
    (finding,) = [finding for finding in findings(summary) if finding["subject"] == "record"]
    if said is None:
        assert "memory" not in finding["reason"]
        assert finding["advice"].startswith("find out why it ended")
    else:
        assert said in finding["reason"]
        assert finding["advice"].startswith("raise the memory limit")


def test_workers_of_one_container_are_one_finding_and_those_of_two_are_two(tmp_path: Path) -> None:
    rows = [throttled(n + 0.5, 640 * MS, worker=w) for n in range(11) for w in range(2)]
    shared = judged(tmp_path / "one", rows=rows, phases=LONG, workers=workers(2), host=HOST)
    (finding,) = findings(shared)
    assert finding["reason"].startswith(
        "workers 0, 1 were throttled: the CPU quota of 30 % of a core that they share stopped everything"
    )
    # In the last second of worker 1, the quota had already been removed.
    lifted = [dict(row, quota_ns=None, cgroup=None) if row is rows[-1] else row for row in rows]
    assert rows[-1]["worker"] == 1
    late = judged(tmp_path / "lifted", rows=lifted, phases=LONG, workers=workers(2), host=HOST)
    (found,) = findings(late)
    assert found["reason"].startswith(
        "workers 0, 1 were throttled: the CPU quota of 30 % of a core that they share"
    )
    apart = [dict(row, cgroup=GROUP + row["worker"]) for row in rows]
    summary = judged(tmp_path / "two", rows=apart, phases=LONG, workers=workers(2), host=HOST)
    assert [finding["reason"].split(" was ")[0] for finding in findings(summary)] == ["worker 0", "worker 1"]


def test_the_same_number_on_two_machines_is_two_containers(tmp_path: Path) -> None:
    rows = [throttled(n + 0.5, 640 * MS, worker=w) for n in range(11) for w in range(2)]
    there = workers(2)
    there[1]["boot_id"] = "another"
    summary = judged(tmp_path, rows=rows, phases=LONG, workers=there)
    assert len([each for each in subjects(summary) if each[1] == "throttling"]) == 2


def test_time_on_several_cpus_is_not_counted_as_if_it_came_one_after_the_other(tmp_path: Path) -> None:
    # Four CPUs waited for 50 ms each in one period of 100 ms: the kernel counts 200 ms, but at most 100 ms
    # were lost.
    summary = judged(tmp_path, rows=all_seconds(200 * MS, 0, throttled_periods=0), phases=LONG)
    (group,) = summary["surroundings"]
    assert group["throttled_worst_ns"] == 100 * MS
    assert group["throttled_share"] == pytest.approx(0.1)


def test_a_record_that_does_not_tell_has_no_surroundings_and_no_finding(tmp_path: Path) -> None:
    summary = judged(tmp_path)
    assert summary["surroundings"] == []
    assert summary["verdict"]["kind"] == "valid"


def test_what_is_not_known_is_null_and_not_zero(tmp_path: Path) -> None:
    rows = [health(n + 0.5, allowed_ns=2 * SECOND, steal_ns=0) for n in range(3)]
    (group,) = judged(tmp_path, rows=rows)["surroundings"]
    assert (group["allowed_cores"], group["steal_share"]) == (2.0, 0.0)
    assert group["quota_cores"] is None
    assert group["throttled_ns"] is group["throttled_share"] is group["memory_limit_bytes"] is None
    assert group["pressure"] == {"cpu": None, "memory": None, "io": None}
    assert set(group["allowance_exceeded"].values()) == {None}


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({"steal_ns": 90 * MS}, [], ""),
        ({"steal_ns": 150 * MS}, [("degraded", "steal")], "the hypervisor took the CPUs from worker 0"),
        (
            {"pressure_memory_ns": 200 * MS, "memory_limit_bytes": 2 * 10**8, "memory_high_events": 7},
            [("degraded", "memory")],
            "up to 200 ms in a second (limit 191 MiB), 7 times over memory.high",
        ),
        (
            {"oom_kills": 1, "memory_limit_bytes": 2 * 10**8},
            [("degraded", "memory")],
            "the kernel killed a process beside worker 0 for lack of memory (limit 191 MiB)",
        ),
        (
            {"pps_exceeded": 1200, "bw_in_exceeded": 0},
            [("degraded", "network")],
            "(pps_allowance_exceeded 1,200)",
        ),
        # Other tasks of the machine wait for memory, but none of this cgroup does.
        ({"pressure_memory_ns": 0, "machine_pressure_memory_ns": 500 * MS}, [], ""),
    ],
)
def test_each_is_a_finding_of_its_own(
    tmp_path: Path, changes: Row, expected: list[tuple[str, str]], said: str
) -> None:
    nothing = dict.fromkeys(schemas.AROUND[9:], 0)
    row = health(4.5, **{**nothing, **changes})
    phases: list[Row] = [
        {"name": "measure", "start_ns": LONG[0]["start_ns"], "end_ns": LONG[0]["start_ns"] + 20 * SECOND}
    ]
    rows = [row, *(health(n + 0.5, **nothing) for n in range(21) if n != 4)]
    summary = judged(tmp_path, rows=rows, phases=phases)
    assert subjects(summary) == expected
    if expected:
        assert said in findings(summary)[0]["reason"]


def test_a_tenth_of_the_time_taken_by_a_hypervisor_makes_a_run_invalid(tmp_path: Path) -> None:
    rows = [health(n + 0.5, steal_ns=120 * MS) for n in range(11)]
    assert subjects(judged(tmp_path, rows=rows, phases=LONG)) == [("invalid", "steal")]


def test_cpu_is_a_share_of_what_is_allowed(tmp_path: Path) -> None:
    summary = judged(tmp_path, rows=all_seconds(0, 0, quota=0.08, cpu_ns=int(0.06 * SECOND)), phases=LONG)
    assert summary["health"]["cpu_worst"] == pytest.approx(0.75)
    assert summary["workers"]["each"][0]["cpu_mean"] == pytest.approx(0.75)
    # One process can use only one of several cores.
    wide = judged(
        tmp_path / "wide", rows=[health(0.5, allowed_ns=8 * SECOND), health(1.5, allowed_ns=8 * SECOND)]
    )
    assert wide["health"]["cpu_worst"] == pytest.approx(0.25)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(-1, 10**11)),
        min_size=1,
        max_size=20,
    )
)
def test_a_share_of_what_is_allowed_is_never_less_than_that_of_a_core(
    rows: list[tuple[int, int, int]],
) -> None:
    cpu, interval, allowed = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    unknown = np.full_like(allowed, -1)
    rows_known = {"cpu_ns": cpu, "interval_ns": interval, "allowed_ns": allowed, "receive_cpu_ns": unknown}
    share = cpu_share(rows_known)
    assert (share >= cpu / np.maximum(interval, 1) - 1e-9).all()
    unlimited = cpu_share({**rows_known, "allowed_ns": unknown})
    assert np.allclose(unlimited, cpu / np.maximum(interval, 1))


def test_findings_that_nothing_explains_stand_between_causes_and_what_they_explain() -> None:
    quota = Finding("degraded", "throttling", "quota", "raise it", 300 * MS)
    network = Finding("degraded", "network", "packets", "larger")
    lag = Finding("invalid", "loop", "lag", "workers", 290 * MS)
    collecting = Finding("degraded", "gc", "gc", "objects")
    ordered = causes.in_causal_order([network, quota], [collecting, lag])
    assert [finding.subject for finding in ordered] == ["throttling", "network", "gc", "loop"]
    assert ordered[0].severity == "invalid"


def test_the_report_says_what_was_allowed_and_what_was_held_back(tmp_path: Path) -> None:
    rows = [throttled(n + 0.5, 640 * MS, steal_ns=3 * MS, memory_limit_bytes=10**9) for n in range(3)]
    summary = judged(tmp_path, rows=rows)
    page = render(analysis.load(tmp_path), summary, drawn=False)
    for shown in ("30 % of a core", "64.00 %", "640 ms", "954 MiB", "3.00 ms"):
        assert f"{shown}<" in page
