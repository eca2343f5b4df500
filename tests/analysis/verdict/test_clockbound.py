"""Test ClockBound's bounds together with pings, for known offsets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.report import notes as report_notes
from analysis.verdict import clockbound
from analysis.verdict.clockbound import tighten
from tests.analysis.synthetic import SECOND, T0, US, simple_run


def arrays(*columns: list[int]) -> list[Any]:
    return [np.array(column, dtype=np.int64) for column in columns]


def test_the_offset_lies_where_ping_and_daemons_agree() -> None:
    # There are four cases, one in each column. Both daemons' bounds are known; the ping is tighter than both daemons;
    # neither host has a daemon; only the worker's host has a daemon.
    low, high, bound, master = arrays(
        [-500, -10, -500, -500], [700, 10, 700, 700], [60, 60, -1, 60], [40, 40, -1, -1]
    )
    found = tighten(low, high, bound, master)
    assert found.low_ns.tolist() == [-100, -10, -500, -500]
    assert found.high_ns.tolist() == [100, 10, 700, 700]
    assert found.vouched.tolist() == [True, True, False, False]
    assert not found.contradicted.any()


def test_one_contradiction_and_only_the_pings_are_used() -> None:
    low, high, bound, master = arrays([150, -500, -300], [300, 500, -101], [60, 60, 60], [40, 40, 40])
    found = tighten(low, high, bound, master)
    assert found.low_ns.tolist() == low.tolist()
    assert found.high_ns.tolist() == high.tolist()
    assert found.contradicted.tolist() == [True, False, True]
    assert found.apart_ns == 50


_NS = st.integers(0, 10**7)


@given(
    st.lists(st.tuples(_NS, _NS, _NS, _NS, st.booleans()), min_size=1, max_size=50),
    st.integers(-(10**6), 10**6),
)
def test_the_truth_stays_inside_where_both_speak_the_truth(
    pings: list[tuple[int, int, int, int, bool]], offset_ns: int
) -> None:
    low, high, bound, master = arrays(
        [offset_ns - there for there, *_ in pings],
        [offset_ns + back for _, back, *_ in pings],
        # The whole offset may be the error of the worker's clock, so its daemon must claim at least the offset.
        [abs(offset_ns) + own if known else -1 for _, _, own, _, known in pings],
        [own for _, _, _, own, _ in pings],
    )
    found = tighten(low, high, bound, master)
    assert not found.contradicted.any()
    assert (found.low_ns <= offset_ns).all()
    assert (found.high_ns >= offset_ns).all()
    # The result is never wider than the ping's bounds.
    assert (found.low_ns >= low).all()
    assert (found.high_ns <= high).all()


def run_with_pings(folder: Path, offset_ns: int, bound_ns: int | None, *, later: bool = True) -> Path:
    """A run whose worker's clock is behind the master's by an offset, with a ping of ±100 µs four times a second."""
    workers = [{"worker": 0, "id": "w", "hostname": "h", "pid": 1, "finished": True, "boot_id": "other"}]
    simple_run(
        folder,
        workers=workers,
        host={"hostname": "m", "cpus": 2, "kernel": "k", "platform": "linux", "boot_id": "here"},
    )
    sent = [T0 + n * SECOND // 4 - offset_ns for n in range(9)]
    columns: dict[str, Any] = {
        "worker": pa.array([0] * 9, pa.int16()),
        "sent_ns": sent,
        "master_received_ns": [at + offset_ns + 100 * US for at in sent],
        "master_sent_ns": [at + offset_ns + 110 * US for at in sent],
        "received_ns": [at + 210 * US for at in sent],
    }
    if later:
        columns |= {name: pa.array([bound_ns] * 9, pa.int64()) for name in ("bound_ns", "master_bound_ns")}
    pq.write_table(pa.table(columns), folder / "clock.parquet")
    return folder


def summary_of(folder: Path) -> Any:
    return analysis.summarise(analysis.load(folder))


def test_daemons_that_agree_are_in_the_summary_and_a_note(tmp_path: Path) -> None:
    summary = summary_of(run_with_pings(tmp_path, 20 * US, 30 * US))
    (entry,) = summary["clock"]["clockbound"]
    assert entry == {
        "worker": 0, "pings": 9, "vouched": 9, "bound_best_ns": 60 * US, "bound_worst_ns": 60 * US,
        "contradicted": 0, "apart_ns": 0,
    }  # fmt: skip
    assert any("ClockBound bounds worker 0's clock" in note for note in report_notes.notes(summary))
    assert not any("ClockBound" in finding["reason"] for finding in summary["verdict"]["findings"])


def test_a_daemon_that_is_wrong_is_named(tmp_path: Path) -> None:
    # The clocks are 1 ms apart. The daemons allow an offset of 60 µs at most, and the ping one of 900 µs at
    # least. So 840 µs lie between the two.
    summary = summary_of(run_with_pings(tmp_path, SECOND // 1000, 30 * US))
    (entry,) = summary["clock"]["clockbound"]
    assert entry["contradicted"] == 9
    assert entry["apart_ns"] == 840 * US
    (finding,) = [f for f in summary["verdict"]["findings"] if "ClockBound" in f["reason"]]
    assert (finding["severity"], finding["subject"]) == ("degraded", "clock")
    assert "9 of 9 pings miss the offset that the two allow by up to 840 µs" in finding["reason"]


def test_a_record_without_the_columns_or_without_a_daemon_says_nothing_of_it(tmp_path: Path) -> None:
    for name, later in (("older", False), ("none", True)):
        summary = summary_of(run_with_pings(tmp_path / name, 20 * US, None, later=later))
        assert "clockbound" not in summary["clock"]


def test_a_worker_on_the_masters_kernel_has_nothing_to_bound(tmp_path: Path) -> None:
    folder = run_with_pings(tmp_path, 0, 30 * US)
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"other"', '"here"'))
    assert clockbound.summarise(analysis.load(folder)) == []
