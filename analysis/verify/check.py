"""Comparing what was written down with what the tables say."""

import json
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from analysis import text
from analysis.gates.outputs import junit, markdown
from analysis.report import render
from analysis.run import Run
from analysis.summary import summarise
from analysis.verify import independent

_NUMBER = re.compile(r"[-+−]?\d[\d.,]*")
_SHOWN = 10


class Verification:
    """What was compared, and what disagrees: a sentence each."""

    def __init__(self) -> None:
        self.compared: dict[str, int] = {}
        self.disagreements: list[str] = []
        self.notes: list[str] = []

    @property
    def agrees(self) -> bool:
        """Whether everything that was compared agrees."""
        return not self.disagreements


def verify(run: Run) -> Verification:
    """Recompute everything from a run's tables and compare it with the files in its folder."""
    found = Verification()
    summary = json.loads(json.dumps(summarise(run)))
    _summary(run, summary, found)
    _second_opinion(run, summary, found)
    _report(run, summary, found)
    for name, content in (("junit.xml", junit(summary)), ("summary.md", markdown(summary))):
        _same_text(run.path / name, content, found)
    _notebooks(run, found)
    return found


def _notebooks(run: Run, found: Verification) -> None:
    """Execute again the notebooks that were executed on this run, and compare what their cells show."""
    from analysis.notebooks import NAMES, NotebookError, execute, shown

    for name in NAMES:
        path = run.path / "notebooks" / f"{name}.ipynb"
        if not path.exists():
            continue
        try:
            base, written = shown(path)
            with tempfile.TemporaryDirectory() as folder:
                _, again = shown(execute(name, run.path, base, Path(folder)))
        except NotebookError as error:
            found.disagreements.append(f"notebooks/{name}.ipynb: {error}")
            continue
        for number, (here, there) in enumerate(zip(again, written, strict=False), start=1):
            if here != there:
                numbers, others = _NUMBER.findall(here), _NUMBER.findall(there)
                place = next((n for n, (a, b) in enumerate(zip(numbers, others, strict=False)) if a != b), -1)
                what = (
                    f"{_at(others, place)} is {_at(numbers, place)} by the tables"
                    if place >= 0
                    else "differs"
                )
                found.disagreements.append(f"notebooks/{name}.ipynb, output {number}: {what}")
        if len(again) != len(written):
            found.disagreements.append(
                f"notebooks/{name}.ipynb has {len(written)} outputs, and {len(again)} by the tables"
            )
        found.compared[f"notebooks/{name}.ipynb"] = sum(len(_NUMBER.findall(here)) for here in again)


def _summary(run: Run, summary: dict[str, Any], found: Verification) -> None:
    try:
        written = json.loads((run.path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found.disagreements.append("summary.json cannot be read")
        return
    here, there = dict(_leaves(summary)), dict(_leaves(written))
    for path in sorted({*here, *there}):
        if here.get(path) != there.get(path) or (path in here) != (path in there):
            found.disagreements.append(
                f"summary.json: {path} is {_show(there, path)}, and {_show(here, path)} by the tables"
            )
    found.compared["summary.json"] = len(here)


def _second_opinion(run: Run, summary: dict[str, Any], found: Verification) -> None:
    window = run.measure
    if window is None or summary["ledger"] is None:
        found.notes.append("nothing was measured: there is no second opinion")
        return
    if not independent.applies_to(run):
        found.notes.append("workers had clocks of their own: the figures in SQL, of raw times, are left out")
        return
    leaves = dict(_leaves(summary))
    figures = independent.figures(run, window)
    for path, value in figures.items():
        if leaves.get(path) != value:
            found.disagreements.append(f"in SQL {path} is {value}, and {_show(leaves, path)} in the summary")
    found.compared["in SQL"] = len(figures)
    if "ledger.expected" not in figures:
        found.notes.append("connections were lost or ended on purpose: the ledger has no second opinion")


def _report(run: Run, summary: dict[str, Any], found: Verification) -> None:
    try:
        written = (run.path / "report.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        found.notes.append("there is no report.html to compare (--no-report; `loadgen report` draws it)")
        return
    except OSError:
        found.disagreements.append("report.html cannot be read")
        return
    here, there = _numbers(render(run, summary)), _numbers(written)
    if here != there:
        place = next(
            (n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b),
            min(len(here), len(there)),
        )
        found.disagreements.append(
            f"report.html: number {place + 1} is {_at(there, place)}, and {_at(here, place)} by the tables"
        )
    found.compared["report.html"] = len(here)


def _same_text(path: Path, content: str, found: Verification) -> None:
    try:
        written = path.read_text(encoding="utf-8")
    except OSError:
        found.disagreements.append(f"{path.name} cannot be read")
        return
    here, there = _NUMBER.findall(content), _NUMBER.findall(written)
    if content != written:
        place = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), -1)
        what = "its words differ" if place < 0 else f"{_at(there, place)} is {_at(here, place)} by the tables"
        found.disagreements.append(f"{path.name}: {what}")
    found.compared[path.name] = len(here)


class _Text(HTMLParser):
    """Collects the numbers of a page's text, of its figures those in the labels."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Leave out what nobody reads."""
        self._hidden += tag in ("svg", "style", "script")

    def handle_endtag(self, tag: str) -> None:
        """Come back to what is read."""
        self._hidden -= tag in ("svg", "style", "script")

    def handle_data(self, data: str) -> None:
        """Take the numbers."""
        if not self._hidden:
            self.numbers += _NUMBER.findall(data)


def _numbers(page: str) -> list[str]:
    parser = _Text()
    parser.feed(page)
    return parser.numbers


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}.{number}")
    else:
        yield path, value


def _show(leaves: dict[str, Any], path: str) -> str:
    return text.clean(leaves[path]) if path in leaves else "missing"


def _at(numbers: list[str], place: int) -> str:
    return numbers[place] if place < len(numbers) else "missing"


def sentences(found: Verification) -> Iterator[str]:
    """Yield what to tell a person: what was compared, notes, and the first disagreements."""
    for name, count in found.compared.items():
        yield f"{name}: {count:,} values compared"
    yield from found.notes
    yield from found.disagreements[:_SHOWN]
    if len(found.disagreements) > _SHOWN:
        yield f"and {len(found.disagreements) - _SHOWN:,} more"
