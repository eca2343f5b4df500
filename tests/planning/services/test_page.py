"""Test that docs/services-prices.md shows what the program computes."""

import re
from pathlib import Path
from typing import get_args

from loadgen.planning.services import show
from loadgen.planning.services.costing import costings
from loadgen.planning.services.files import NAMES, read_service, services
from loadgen.planning.services.models import Quantity
from loadgen.planning.services.scenario import load_of
from loadgen.resolve.resolver import planned
from tests.paths import REPO
from tests.planning.services.loads import example

PAGE = (REPO / "docs" / "services-prices.md").read_text(encoding="utf-8")


def words(cells: tuple[str, ...]) -> str:
    return " ".join(" ".join(cells).split())


def test_the_tables_of_the_page_are_those_of_the_worked_example() -> None:
    lines = {" ".join(line.split()) for line in PAGE.splitlines() if line.startswith("    ")}
    costs, quotas, *_ = show.tables(costings(example()), [])
    for columns, rows in (costs, quotas):
        assert words(tuple(columns)) in lines
        for row in rows:
            assert words(row) in lines


def test_the_page_names_every_service() -> None:
    listed = PAGE.split("## Which services?", 1)[1].split("##", 1)[0]
    assert [*re.findall(r"`([a-z-]+)`", listed)][: len(NAMES)] == list(NAMES)
    formulas = PAGE.split("## How is the cost computed?", 1)[1]
    for name in NAMES:
        assert f"`{name}" in formulas


def test_the_page_names_every_quantity() -> None:
    described = PAGE.split("**lines** multiply", 1)[1].split("- **plans**", 1)[0]
    # The page need not name these quantities: they are only used for limits of plans, or are always zero.
    others = {"message_per_s", "message_per_hour", "message_per_day", "stored_gb"}
    assert set(get_args(Quantity)) - others <= set(re.findall(r"`(\w+)`", described))


def test_the_own_file_of_the_page_is_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "my-broker.yaml"
    path.write_text(text)
    assert read_service(path).service == "my-broker"
    assert list(services([path])) == [*NAMES, "my-broker"]
    _, run = planned("comments")
    (broker,) = costings(load_of(run), "my-broker", [path])
    # Two machines run for 365/12 days.
    assert float(broker.month.usd().low or 0) == 2 * 4 * 365 / 12
    assert broker.month.sure
