"""Test profiles of runs whose clients reply to events: the figures and samples must be those of the run's summary."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from analysis.compare import profile
from analysis.compare.profile import OPTIONAL, Profile
from analysis.figures import reactions
from analysis.loading.run import load
from analysis.summary import summarise
from tests.analysis.figures.test_reactions import by_hand, of, records
from tests.analysis.synthetic import Tables, simple_run

pytestmark = pytest.mark.long


def test_figures_of_reactions_are_those_of_the_summary(tmp_path: Path) -> None:
    run = of(tmp_path / "r", by_hand())
    summary = summarise(run)
    found = Profile.of(run, summary)
    for name, part, percent in (
        ("reaction.latency.p50", "latency_ns", "p50"),
        ("reaction.latency.p99", "latency_ns", "p99"),
        ("reaction.first.p99", "first_ns", "p99"),
        ("reaction.gap.p99", "gap_ns", "p99"),
    ):
        assert found.figures[name] == summary["reaction"][part][percent], name
        # The figures have no bounds, because this record does not say how exact arrival times are.
        assert name not in found.ends
    # Two replies to one request arrived, both at the same subscription.
    sizes = {name: sum(sum(block.values()) for block in blocks) for name, blocks in found.blocks.items()}
    assert (sizes["reaction.latency"], sizes["reaction.first"], sizes["reaction.gap"]) == (2, 1, 1)
    profile.write(tmp_path / "b.json", [found])
    assert profile.read(tmp_path / "b.json") == [found]


@given(records())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_blocks_hold_each_sample_once(tables: Tables) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = of(Path(folder) / "r", tables)
        summary = summarise(run)
        if summary["ledger"] is None or (found := reactions.reactions(run)) is None:
            return
        made = Profile.of(run, summary)
        for name, samples in (
            ("reaction.latency", found.latency),
            ("reaction.first", found.first),
            ("reaction.gap", found.gap),
        ):
            assert sum(sum(block.values()) for block in made.blocks[name]) == len(samples), name
            assert (made.figures[f"{name}.p99"] is None) == (len(samples) == 0)


def test_a_run_without_replies_has_no_such_figures_and_says_how_long_it_took(tmp_path: Path) -> None:
    run = load(simple_run(tmp_path / "r"))
    found = Profile.of(run, summarise(run))
    assert not OPTIONAL & set(found.figures)
    ends = [end for _, end in run.phases.values()]
    assert None not in ends
    assert found.seconds == (max(end for end in ends if end is not None) - run.manifest["created_ns"]) / 1e9
