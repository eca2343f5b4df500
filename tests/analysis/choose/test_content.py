"""Test the comparison of services as tables, as Markdown and as an HTML page."""

import json
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from analysis.choose import content, outputs, page, record
from analysis.choose.content import Column, Table
from analysis.choose.figures import Figure
from analysis.choose.record import Amount, Bill, Choice, Cost, Made, Tried, Use
from analysis.loading.run import ReadError
from tests.analysis.synthetic import simple_run

EVIL = "<script>alert(1)</script>\x1b[31m| *x*"
COST = Cost(
    "on demand",
    run=Bill(Amount(0.25, 0.25)),
    hour=Bill(Amount(1.0, 2.0), sure=False),
    month=Bill(Amount(100.0, None)),
    binds_first=Use("outbound_messages_per_s", 0.25),
)


def _choice(folder: Path, **more: object) -> Choice:
    simple_run(folder / "ours" / "1")
    choice = Choice(
        scenario="comments",
        created_ns=1_795_490_000_000_000_000,
        month="8 hours a day",
        services=(
            msgspec.structs.replace(
                Tried("ours", "AWS AppSync Events", "loadgen run comments", runs=(Made("ours/1", 0),)), **more
            ),
            Tried("other", "MQTT", "loadgen run comments --target mqtt://h", problem="no such host"),
        ),
    )
    record.write(folder, choice)
    return choice


def _cells(tables: list[Table]) -> dict[str, tuple[str, ...]]:
    return {row.name: row.cells for table in tables for row in table.rows}


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    choice = _choice(tmp_path, costs=(COST,), limits=("no batches",), stands_for="our embedded server")
    assert record.read(tmp_path) == choice


def test_a_service_that_did_not_run_has_no_figures_but_a_reason(tmp_path: Path) -> None:
    _choice(tmp_path)
    choice, columns = content.columns(tmp_path)
    cells = _cells(content.tables(columns, choice.month))
    assert cells["delivered in time, of expected"] == ("100 %", "no run")
    assert cells["lost"] == ("0", "no run")
    assert cells["the ledger balances"] == ("yes", "no run")
    assert content.limits(columns) == [("other", "did not run: no such host")]


def test_what_holds_for_several_services_is_said_once(tmp_path: Path) -> None:
    tried = [Tried(label, "t", "c", limits=("no batches", f"only {label}")) for label in ("a", "b")]
    columns = [Column(each, (), None) for each in tried]
    assert content.limits(columns) == [("a, b", "no batches"), ("a", "only a"), ("b", "only b")]


def test_why_there_is_no_price_is_said_once(tmp_path: Path) -> None:
    columns = [Column(Tried("a", "t", "c", unpriced="it is free"), (), None)]
    (_, costs) = content.tables(columns, "")
    assert [row.cells for row in costs.rows] == [("it is free",), ("–",), ("–",), ("–",)]


def test_a_run_that_is_gone_is_a_problem_of_its_service(tmp_path: Path) -> None:
    _choice(tmp_path, runs=(Made("ours/1", 0), Made("ours/2", 3)))
    _, columns = content.columns(tmp_path)
    assert len(columns[0].runs) == 1
    assert columns[0].problem is not None
    assert "ours/2" in columns[0].problem
    assert content.limits(columns)[0] == ("ours", f"a run failed: {columns[0].problem}")


def test_costs_keep_their_range_and_their_doubt(tmp_path: Path) -> None:
    _choice(tmp_path, costs=(COST,))
    choice, columns = content.columns(tmp_path)
    cells = _cells(content.tables(columns, choice.month))
    assert cells["this run"][0] == "$0.25"
    assert cells["an hour of use"][0] == "$1.00 … $2.00 (not sure)"
    assert cells["a month"][0] == "at least $100.00"
    assert cells["quota that binds first"][0] == "outbound messages per s, 25.00 % used"


def test_an_unknown_cost_is_shown_as_unknown_and_not_as_zero(tmp_path: Path) -> None:
    unknown = Cost(
        "x", run=None, hour=Bill(Amount(None, None), sure=False), month=Bill(Amount(0, 0)), binds_first=None
    )
    _choice(tmp_path, costs=(unknown,))
    choice, columns = content.columns(tmp_path)
    cells = _cells(content.tables(columns, choice.month))
    assert [cells[name][0] for name in ("this run", "an hour of use", "a month")] == ["–", "–", "$0"]


def test_two_ways_to_be_billed_are_both_shown(tmp_path: Path) -> None:
    _choice(tmp_path, costs=(COST, msgspec.structs.replace(COST, offer="per user")))
    choice, columns = content.columns(tmp_path)
    cells = _cells(content.tables(columns, choice.month))
    assert cells["this run"][0] == "on demand: $0.25; per user: $0.25"


@pytest.mark.parametrize(
    ("metric", "figure", "said"),
    [
        ("delivery.lost", Figure(3, 3, 3), "3"),
        ("delivery.latency.p99", Figure(2_000_000, 1_000_000, 3_000_000), "2.00 ms (1.00 ms … 3.00 ms)"),
        ("delivery.latency.p99", Figure(None, 1_000_000, 3_000_000), "1.00 ms … 3.00 ms"),
        ("delivery.rate", Figure(None, 100.0, 100.0), "100/s"),
        ("delivery.ratio", Figure(None, None, None, "why"), "–"),
    ],
)
def test_a_figure_is_shown_with_its_unit_and_bounds(metric: str, figure: Figure, said: str) -> None:
    assert content.shown(metric, figure) == said


def test_json_has_the_figures_as_numbers(tmp_path: Path) -> None:
    _choice(tmp_path, costs=(COST,))
    found = json.loads(json.dumps(content.as_json(*content.columns(tmp_path))))
    ours, other = found["services"]
    assert ours["runs"][0]["figures"]["delivery.latency.p50"]["value"] == 200_000
    assert ours["costs"][0]["month"]["usd"] == {"min": 100.0, "max": None}
    assert (other["runs"], other["problem"]) == ([], "no such host")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


def test_text_from_outside_is_escaped_everywhere(tmp_path: Path) -> None:
    _choice(
        tmp_path, title=EVIL, command=EVIL, stands_for=EVIL, problem=EVIL, limits=(EVIL,), unpriced=EVIL,
        costs=(msgspec.structs.replace(COST, offer=EVIL), COST),
    )  # fmt: skip
    choice, columns = content.columns(tmp_path)
    made = page.render(choice, columns)
    tags = _Tags()
    tags.feed(made)
    assert "script" not in tags.seen
    assert "\x1b" not in made
    markdown = outputs.markdown(choice, columns)
    assert "\x1b" not in markdown
    assert "<script" not in markdown.replace("\\<", "")
    assert "| *x*" not in markdown


def test_the_page_names_what_stood_in_for_a_service_and_draws_all_that_ran(tmp_path: Path) -> None:
    _choice(tmp_path, stands_for="our embedded server on this machine: not AWS")
    choice, columns = content.columns(tmp_path)
    made = page.render(choice, columns)
    assert "ours was our embedded server on this machine: not AWS" in made
    assert "<svg" in made
    assert 'href="ours/1/report.html"' in made


def test_without_deliveries_there_is_no_plot() -> None:
    assert page.curves([Column(Tried("a", "b", "c"), (), "x")]) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"scenario": 1}',
        b'{"scenario":"a","created_ns":1,"services":[],"format":2}',
        b'{"scenario":"a","created_ns":1,"services":[{"label":"../x","title":"","command":""}]}',
        b'{"scenario":"a","created_ns":1,"services":[{"label":"x","title":"","command":"",'
        b'"runs":[{"folder":"../../etc","exit_code":0}]}]}',
    ],
)
def test_a_file_of_another_kind_is_refused_in_a_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / record.NAME).write_bytes(text)
    with pytest.raises(ReadError, match=r"choice\.json"):
        record.read(tmp_path)


def test_a_folder_without_the_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is not a folder of `loadgen choose`"):
        record.read(tmp_path)
