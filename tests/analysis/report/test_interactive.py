"""Test the charts in a report's page: data is never executed, and the page's policy lists each script."""

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.plots import style
from analysis.plots.spread import percentile_curves
from analysis.report import closer, interactive
from analysis.report.page import render
from analysis.summary import summarise
from tests.analysis.synthetic import simple_run
from tests.paths import REPO

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 & ' \" ]]> $$x$$"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_embedded_data_is_the_same_and_has_nothing_that_html_reads(value: Any) -> None:
    said = str(interactive.embedded({"a": value, HOSTILE: HOSTILE}))
    assert not set(said) & set("<>&\u2028\u2029")
    assert json.loads(said) == {"a": value, HOSTILE: HOSTILE}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        interactive.embedded(float("nan"))


class Scripts(HTMLParser):
    """Finds the scripts that a page executes, and the page's content security policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ran: list[str] = []
        self.policy = ""
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "script" and "type" not in found:
            self._inside = True
            self.ran.append("")
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(found["content"])

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.ran[-1] += data


@pytest.fixture(scope="module")
def sample() -> str:
    run = analysis.load(REPO / "results" / "sample")
    return render(run, summarise(run))


def test_the_policy_names_each_script_of_the_page_and_allows_nothing_else(sample: str) -> None:
    found = Scripts(sample)
    hashes = [b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found.ran]
    assert len(hashes) == 3
    allowed = dict(part.strip().partition(" ")[::2] for part in found.policy.split(";"))
    assert allowed["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert (allowed["default-src"], allowed["img-src"]) == ("'none'", "data:")
    assert (allowed["base-uri"], allowed["form-action"]) == ("'none'", "'none'")


def test_the_page_is_smaller_than_four_megabytes_and_names_no_source_map(sample: str) -> None:
    assert 1_000_000 < len(sample.encode()) < 4_000_000
    assert "sourceMappingURL" not in sample


def test_without_bokeh_the_page_has_its_pictures_and_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = analysis.load(simple_run(tmp_path / "run"))
    monkeypatch.setattr(interactive, "_scripts", lambda: ())
    page = render(run, summarise(run))
    assert "<svg" in page
    assert "<script" not in page
    assert "script-src" not in page
    assert Scripts(page).policy == interactive.POLICY


def test_a_menu_entry_leads_to_each_section(sample: str) -> None:
    anchors = re.findall(r'<a href="#([a-z]+)">', sample)
    assert anchors == ["latency", "curves", "ledger", "phases", "generator", "method", "run"]
    for anchor in anchors:
        assert sample.count(f'id="{anchor}"') == 1


def test_the_closer_look_has_exact_percentiles_of_each_part() -> None:
    run = analysis.load(REPO / "results" / "sample")
    (way,) = closer.looks(run, summarise(run))
    assert (way["name"], way["plots"]) == ("channel", ["by_channel"])
    assert way["columns"] == ["deliveries", "of all", "p50", "p90", "p99", "p99.9"]
    deliveries, events = (
        run.table("deliveries", ("publisher", "sequence", "intended_ns", "arrival_ns")).to_pandas(),
        run.table("events", ("publisher", "sequence", "channel")).to_pandas(),
    )
    joined = deliveries.merge(events, on=["publisher", "sequence"])
    assert run.measure is not None
    joined = joined[joined["intended_ns"].between(run.measure.start_ns, run.measure.end_ns - 1)]
    ordered = joined.groupby("channel", observed=True).size().sort_values(ascending=False)
    busiest = way["members"][0]
    assert busiest["name"] == ordered.index[0]
    its = joined[joined["channel"] == ordered.index[0]]
    latencies = sorted((its["arrival_ns"] - its["intended_ns"]).tolist())
    assert len(latencies) == 684
    from analysis.text import duration

    by_hand = [duration(latencies[-(-len(latencies) * tenth // 1000) - 1]) for tenth in (500, 900, 990, 999)]
    assert busiest["figures"] == ["684", "15.73 %", *by_hand]
    assert busiest["series"] == f"{ordered.index[0]} (684)"


def test_the_chart_has_what_the_picture_has() -> None:
    from analysis.plots.plain import panels

    run = analysis.load(REPO / "results" / "sample")
    with style.styled():
        figure = percentile_curves(run)
        assert figure is not None
        (panel,) = panels(figure)
    (axes,) = figure.axes
    assert (panel["x"]["unit"], panel["y"]["unit"], panel["x"]["log"], panel["y"]["log"]) == (
        "above",
        "ms",
        True,
        False,
    )
    assert panel["x"]["begin"] == 0.5
    for line, series in zip(axes.get_lines(), panel["series"], strict=True):
        assert series["name"] == line.get_label()
        assert series["x"] == pytest.approx(line.get_xdata(), rel=1e-5)
        assert series["y"] == pytest.approx(line.get_ydata(), rel=1e-5)
