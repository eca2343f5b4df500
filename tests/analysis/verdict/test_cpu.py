"""Test that a worker's receive thread, and its other threads together, are each judged against one core."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.verdict.cpu import CPU, cpu_share, receive_share
from loadgen.live.judge import share_of_allowed
from tests.analysis.synthetic import SECOND
from tests.analysis.verdict.test_judgement import health, judged, subjects

CORES_2 = {"allowed_ns": 2 * SECOND}


def sentence(folder: Path, **columns: int) -> str | None:
    """Return the finding on the CPU for a run whose health rows have these columns, or None."""
    summary = judged(folder, rows=[health(0.5, **columns), health(1.5, **columns)])
    found = [each["reason"] for each in summary["verdict"]["findings"] if each["subject"] == "cpu"]
    assert len(found) <= 1
    return str(found[0]) if found else None


def cores(share: float) -> int:
    return int(share * SECOND)


def test_two_threads_that_use_most_of_a_core_each_are_no_finding(tmp_path: Path) -> None:
    assert sentence(tmp_path, cpu_ns=cores(1.6), receive_cpu_ns=cores(0.8), **CORES_2) is None


def test_a_busy_receive_thread_is_named(tmp_path: Path) -> None:
    found = sentence(tmp_path, cpu_ns=cores(1.1), receive_cpu_ns=cores(0.95), **CORES_2)
    assert found == "the receive thread of worker 0 used more than 90% of a core in 2 of 2 s"


def test_a_busy_interpreter_is_named_apart_from_the_receive_thread(tmp_path: Path) -> None:
    found = sentence(tmp_path, cpu_ns=cores(1.4), receive_cpu_ns=cores(0.4), **CORES_2)
    assert found == "worker 0 apart from its receive thread used more than 90% of a core in 2 of 2 s"


@pytest.mark.parametrize("allowed", [0.5, 1.0])
def test_threads_that_share_a_core_or_less_are_judged_together(tmp_path: Path, allowed: float) -> None:
    found = sentence(
        tmp_path,
        cpu_ns=cores(allowed * 0.96),
        receive_cpu_ns=cores(allowed * 0.48),
        allowed_ns=cores(allowed),
    )
    assert found is not None
    assert "worker 0 used more than 90% of the" in found
    assert "that it is allowed" in found


def test_without_the_column_all_threads_count_as_one_as_before(tmp_path: Path) -> None:
    assert sentence(tmp_path, cpu_ns=cores(1.6)) == "worker 0 used more than 90% of a core in 2 of 2 s"
    assert sentence(tmp_path / "idle", cpu_ns=cores(0.8), **CORES_2) is None


def test_the_summary_has_the_receive_thread_apart_and_null_without_one(tmp_path: Path) -> None:
    rows = [health(0.5, cpu_ns=cores(1.2), receive_cpu_ns=cores(0.7)), health(1.5, cpu_ns=cores(0.3))]
    summary = judged(tmp_path, rows=rows)
    assert subjects(summary) == []
    for of in (summary["health"], summary["workers"]["each"][0]):
        assert of["receive_cpu_worst"] == pytest.approx(0.7)
        assert of["cpu_worst"] == pytest.approx(0.7)
    without = judged(tmp_path / "without")
    assert without["health"]["receive_cpu_worst"] is without["workers"]["each"][0]["receive_cpu_mean"] is None
    assert without["health"]["cpu_mean"] == pytest.approx(0.25)


_COLUMN = st.integers(0, 10**10)


@given(
    st.lists(
        st.tuples(_COLUMN, _COLUMN, st.integers(-1, 10**10), st.integers(-1, 10**10)), min_size=1, max_size=20
    )
)
def test_during_the_run_the_share_is_the_same_as_afterwards(rows: list[tuple[int, int, int, int]]) -> None:
    columns = {
        name: np.array(column, dtype=np.int64)
        for name, column in zip(CPU, zip(*rows, strict=True), strict=True)
    }
    live = [
        share_of_allowed({name: None if value < 0 else value for name, value in zip(CPU, row, strict=True)})
        for row in rows
    ]
    assert np.allclose(cpu_share(columns), live)


@given(_COLUMN, _COLUMN)
def test_a_receive_thread_of_its_own_never_makes_a_worker_busier(cpu_ns: int, receive_ns: int) -> None:
    rows = {name: np.array([SECOND], dtype=np.int64) for name in CPU} | {
        "cpu_ns": np.array([cpu_ns + receive_ns])
    }
    apart = cpu_share({**rows, "receive_cpu_ns": np.array([receive_ns]), "allowed_ns": np.array([-1])})
    added = cpu_share({**rows, "receive_cpu_ns": np.array([-1]), "allowed_ns": np.array([-1])})
    assert apart <= added
    assert apart * 2 >= added - 1e-9
    assert np.isnan(receive_share({**rows, "receive_cpu_ns": np.array([-1])})).all()
