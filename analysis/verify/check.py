"""Compare a run's files with figures recomputed from its tables."""

import json
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis import text
from analysis.figures import derived
from analysis.loading.parquet import damaged
from analysis.loading.run import ReadError, Run
from analysis.record import revisions
from analysis.record.revisions import SUMMARY, UNKNOWN, Maker
from analysis.record.tables import TableError
from analysis.report.outputs import junit, markdown
from analysis.report.page import render
from analysis.summary import summarise
from analysis.verify import compared, independent
from analysis.verify.compared import DamagedError, Verification, conclusion, sentences

__all__ = ["Reckoned", "Verification", "conclusion", "sentences", "verify"]


class Reckoned:
    """The contents that a run's files should have according to its tables; each part is computed on first use.

    If the record is damaged, any part may raise any exception.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary that this version makes of the run, after conversion to JSON and back."""
        summary: dict[str, Any] = json.loads(json.dumps(summarise(self._run)))
        return summary

    @cached_property
    def in_sql(self) -> dict[str, float | None]:
        """The main figures computed in SQL, by their path in the summary; the run must have a measure phase."""
        assert self._run.measure is not None
        return independent.figures(self._run, self._run.measure)

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """The tables that the analysis adds to the record."""
        return {name: derived.plain(table) for name, table in derived.tables(self._run).items()}

    @cached_property
    def texts(self) -> dict[str, str]:
        """The contents of the files for CI, by file name."""
        return {"junit.xml": junit(self.summary), "summary.md": markdown(self.summary)}

    @cached_property
    def page(self) -> str:
        """The visible text of report.html."""
        return compared.page(render(self._run, self.summary, drawn=False))


def verify(run: Run, reckoned: Reckoned | None = None) -> Verification:
    """Recompute everything from a run's tables and compare it with the files in its folder.

    ``reckoned`` holds recomputed contents of this run from earlier calls, to save computing them again.

    Raises:
        ReadError: the record is too damaged to compute anything from it.
    """
    found = Verification(remedy=f"`loadgen report {text.clean(run.path)}`")
    try:
        reckoned = Reckoned(run) if reckoned is None else reckoned
        maker = _summary(run, reckoned.summary, found)
        _second_opinion(run, reckoned, found)
        _tables(run, reckoned, maker, found)
        _texts(run, reckoned, maker, found)
    except ReadError:
        raise
    except Exception as error:
        # The record may come from anywhere: anything in it may be missing, broken or of the wrong type.
        raise damaged(run.path, error) from error
    _notebooks(run, found)
    return found


def maker_of(name: str, content: dict[str, Any], found: Verification) -> Maker:
    """Return the version that made a file, and add a note if it is not this version.

    An impossible version counts as a disagreement, and the file is compared as if this version had made it.
    """
    try:
        maker = revisions.maker_of(content)
    except ValueError as error:
        found.disagreements.append(f"{name}: {text.clean(error)}, which no version writes")
        return Maker(None, revisions.current())
    if not maker.same:
        age = "an older" if maker.older else "a newer"
        found.notes.append(
            f"{name} was made by {age} version ({text.clean(maker)}; this is"
            f" {Maker(revisions.version(), revisions.current())})"
        )
    return maker


def _summary(run: Run, summary: dict[str, Any], found: Verification) -> Maker:
    here = {key: value for key, value in summary.items() if key != "made_by"}
    try:
        written = compared.read_json(run.path / SUMMARY)
    except FileNotFoundError:
        found.disagreements.append(f"there is no {SUMMARY}: {found.remedy} makes it")
        return UNKNOWN
    except DamagedError as error:
        found.disagreements.append(f"{SUMMARY} {error}")
        return UNKNOWN
    maker = maker_of(SUMMARY, written, found)
    if not maker.same:
        versions = run.manifest.get("versions")
        wrote = versions.get("loadgen") if isinstance(versions, dict) else None
        found.notes.append(
            f"the record is of format {run.manifest['format']}, written by"
            f" {f'loadgen {text.clean(wrote)}' if wrote else 'an unknown version'}"
        )
    there = {key: value for key, value in written.items() if key != "made_by"}
    compared.figures(SUMMARY, here, there, maker, found)
    return maker


def _second_opinion(run: Run, reckoned: Reckoned, found: Verification) -> None:
    if run.measure is None or reckoned.summary["ledger"] is None:
        found.notes.append("nothing was measured: there is no second opinion")
        return
    if not independent.applies_to(run):
        found.notes.append("workers had clocks of their own: the figures in SQL, of raw times, are left out")
        return
    leaves = compared.flat(reckoned.summary)
    figures = reckoned.in_sql
    for path, value in figures.items():
        if path not in leaves or leaves[path] != value:
            said = text.clean(leaves[path]) if path in leaves else "missing"
            found.disagreements.append(f"in SQL {path} is {value}, and {said} in the summary")
    found.count("in SQL", len(figures))
    if "ledger.expected" not in figures:
        found.notes.append("connections were lost or ended on purpose: the ledger has no second opinion")


def _tables(run: Run, reckoned: Reckoned, maker: Maker, found: Verification) -> None:
    """Compare the tables that the analysis added to the run folder with recomputed ones."""
    for name, table in reckoned.tables.items():
        file = f"{name}.parquet"
        path = run.path / file
        if not path.exists():
            found.notes.append(f"there is no {file} to compare: {found.remedy} writes it")
            continue
        try:
            written = derived.read(path)
        except (TableError, pa.ArrowException, OSError):
            found.disagreements.append(f"{file} cannot be read")
            continue
        _table(file, table, written, maker, found)


def _table(file: str, here: pa.Table, there: pa.Table, maker: Maker, found: Verification) -> None:
    if here.num_rows != there.num_rows:
        found.disagreements.append(f"{file} has {there.num_rows:,} rows, and {here.num_rows:,} by the tables")
        return
    for column in dict.fromkeys([*here.column_names, *there.column_names]):
        if column not in there.column_names:
            if maker.older:
                found.absent.append(f"{file}: {column}")
            else:
                found.disagreements.append(f"{file}: the column {text.clean(column)} is missing")
        elif column not in here.column_names:
            if maker.same:
                found.disagreements.append(f"{file}: the column {text.clean(column)} is not made by loadgen")
            else:
                found.notes.append(f"{file}: not compared, as not made by this version: {text.clean(column)}")
        else:
            ours, theirs = here.column(column).to_pylist(), there.column(column).to_pylist()
            found.count(file, len(ours))
            row = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
            if row is not None:
                found.disagreements.append(
                    f"{file}: {column} of row {row + 1:,} is {text.clean(theirs[row])}, and"
                    f" {text.clean(ours[row])} by the tables"
                )


def _texts(run: Run, reckoned: Reckoned, maker: Maker, found: Verification) -> None:
    """Compare the report and the files for CI word by word, except plots."""
    for name, content in reckoned.texts.items():
        written = _written(run.path / name, found)
        if written is not None:
            compared.words(name, content, written, maker, found)
    name = "report.html"
    if not (run.path / name).exists():
        found.notes.append(f"there is no {name} to compare (--no-report; {found.remedy} draws it)")
    elif (written := _written(run.path / name, found)) is not None:
        compared.words(name, reckoned.page, compared.page(written), maker, found)


def _written(path: Path, found: Verification) -> str | None:
    try:
        return compared.read_text(path)
    except FileNotFoundError:
        found.notes.append(f"there is no {path.name} to compare: {found.remedy} writes it")
    except DamagedError as error:
        found.disagreements.append(f"{path.name} {error}")
    return None


def _notebooks(run: Run, found: Verification) -> None:
    """Execute the notebooks in the run's folder again, and compare the outputs of their cells."""
    from analysis.notebooks import NAMES, JupyterMissingError, NotebookError, execute, shown

    for name in NAMES:
        file = f"notebooks/{name}.ipynb"
        path = run.path / file
        if not path.exists():
            continue
        try:
            written = shown(path)
            if written.base is not None and not written.base.exists():
                found.notes.append(
                    f"{file}: not compared, as the run that it compares with is not at {text.clean(written.base)}"
                )
                continue
            with tempfile.TemporaryDirectory() as folder:
                again = shown(execute(name, run.path, written.base, Path(folder)))
        except JupyterMissingError as error:
            found.notes.append(f"{file}: not compared. {error}")
            continue
        except NotebookError as error:
            found.disagreements.append(f"{file}: {text.clean(error)}")
            continue
        if len(again.texts) != len(written.texts) and written.maker.same:
            found.disagreements.append(
                f"{file} has {len(written.texts)} outputs, and {len(again.texts)} by the tables"
            )
        for number, (here, there) in enumerate(zip(again.texts, written.texts, strict=False), start=1):
            compared.words(file, here, there, written.maker, found, part=f", output {number}")
