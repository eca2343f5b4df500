"""Test that every figure of a run is the same whether the run is read in pieces of any size or at once."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.compare.profile import Profile
from analysis.figures import derived, samples, selection
from analysis.figures.intervals import by_second
from analysis.figures.latencies import latencies
from analysis.ledger import marks, order, parts
from analysis.loading import parquet, pieces, room, slices
from analysis.summary import summarise
from tests.analysis.ledger.test_reconcile import LATE_NS, Situation, situations
from tests.analysis.synthetic import SECOND, T0, ZERO, Row, write_run
from tests.paths import REPO

pytestmark = pytest.mark.long

#: Factor by which all times are stretched: the generated situations span only one second, and an analysis in pieces
#: cuts runs at whole seconds.
SLOWER = 10
GATES = [
    "delivery.latency.p99 < 500ms",
    "delivery.latency.p50 < 100ms over 2s",
    "delivery.loss == 0",
    "delivery.late == 0 over 3s",
    "fanout.last.p50 < 300ms",
    "fanout.first.max < 300ms over 2s",
    "fanout.complete > 50% over 3s",
    "publish.latency.p50 < 5ms",
    "publish.lateness.max < 5ms over 2s",
    "publish.errors < 20%",
]
#: Sizes of the parts in which a run is read and its samples are collected: so small that each holds an item or a few.
SMALL = st.integers(1, 4)


def slower(rows: list[Row]) -> list[Row]:
    return [
        {
            name: ZERO + (value - ZERO) * SLOWER if name.endswith("_ns") and value is not None else value
            for name, value in row.items()
        }
        for row in rows
    ]


def write(folder: Path, situation: Situation, uncertain: list[int]) -> None:
    events, subscriptions, connections, deliveries = (slower(rows) for rows in situation)
    for row, uncertain_ns in zip(deliveries, uncertain, strict=False):
        row["uncertain_ns"] = uncertain_ns
    tables = {"events": events, "subscriptions": subscriptions, "connections": connections}
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": ZERO},
        {"name": "measure", "start_ns": ZERO, "end_ns": ZERO + SLOWER * SECOND},
    ]
    write_run(
        folder,
        {**tables, "deliveries": deliveries},
        late_after_ns=LATE_NS * SLOWER,
        phases=phases,
        scenario={"version": 1, "name": "made-up", "gates": GATES},
    )


def figures_of(folder: Path) -> dict[str, Any]:
    run = analysis.load(folder)
    summary = summarise(run)
    found = latencies(run)
    return {
        "summary": summary,
        "latencies": None if found is None else asdict(found),
        "tables": {name: derived.plain(table).to_pydict() for name, table in derived.tables(run).items()},
        "seconds": by_second(run),
        "profile": Profile.of(run, summary).to_dict(),
    }


def same(one: Any, other: Any) -> bool:
    """Return True only if `numpy.testing.assert_equal` would find the figures equal, but in much less time.

    With `assert_equal` itself, the comparison would take a quarter of the test.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(one == other) or (one != one and other != other)


def patched(patch: pytest.MonkeyPatch, size: int) -> None:
    for place, name in (
        (slices, "SLICE_ROWS"),
        (slices, "STRETCH_EVENTS"),
        (order, "_STREAMS_MAX"),
        (selection, "COLLECTED_MAX"),
    ):
        patch.setattr(place, name, size)
    # Read tables from the file each time, and put everything possible into temporary files.
    for place, name in (
        (parquet, "_FEW_ROWS"),
        (pieces, "KEPT_BYTES"),
        (room, "KEPT_BYTES"),
        (parts, "ROOM_BYTES"),
        (marks, "ROOM_BYTES"),
        (samples, "SORTED_MAX"),
    ):
        patch.setattr(place, name, 0)


@settings(max_examples=30, deadline=None)
@given(situations(), st.lists(st.sampled_from((0, 0, 3_000_000)), max_size=25), SMALL, SMALL)
def test_a_run_read_in_pieces_has_the_figures_of_the_run_read_at_once(
    situation: Situation, uncertain: list[int], size: int, group_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, situation, uncertain)
        whole = figures_of(folder)
        for table in ("events", "deliveries"):
            path = folder / f"{table}.parquet"
            pq.write_table(pq.read_table(path), path, row_group_size=group_rows)
        with pytest.MonkeyPatch.context() as patch:
            patched(patch, size)
            cut = figures_of(folder)
    pd.testing.assert_frame_equal(cut.pop("seconds"), whole.pop("seconds"))
    if not same(cut, whole):
        # `same` found a difference: let `assert_equal` say where it is; it passes if only types of figures differ.
        np.testing.assert_equal(cut, whole)


def test_the_events_of_a_long_run_are_cut_at_whole_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = analysis.load(REPO / "results" / "sample")
    assert run.measure is not None
    assert slices.stretches(run, run.measure) == [run.measure]
    monkeypatch.setattr(slices, "STRETCH_EVENTS", 20)
    cut = slices.stretches(run, run.measure)
    assert len(cut) > 3
    assert [one.end_ns for one in cut[:-1]] == [one.start_ns for one in cut[1:]]
    assert (cut[0].start_ns, cut[-1].end_ns) == (run.measure.start_ns, run.measure.end_ns)
    assert all((one.start_ns - run.first_publish_ns) % SECOND == 0 for one in cut[1:])
