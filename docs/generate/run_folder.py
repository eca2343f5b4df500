"""The page on a run's folder: names and types of columns and keys from the code, meanings from results/README.md."""

import json
import re
from dataclasses import fields

import pyarrow as pa
import pyarrow.parquet as pq
from writing import REPO, code, head, table

from analysis.figures.derived import REPLIES
from analysis.record import revisions
from analysis.record.schemas import SCHEMAS
from loadgen.run.record import FORMAT, PHASES, Manifest

_SOURCE = REPO / "results" / "README.md"
_SAMPLE = REPO / "results" / "sample"
_PREFIX = f"{revisions.SUMMARY}:"


def page() -> str:
    """Return the page.

    Raises:
        ValueError: code and results/README.md do not agree.
    """
    sections = _sections(_SOURCE.read_text(encoding="utf-8"))
    meanings = _meanings(sections["manifest.json"], 1)
    names = [field.name for field in fields(Manifest)]
    _agree("manifest.json", names, meanings)
    parts = [
        head(
            "A run's folder", "`analysis/record/schemas.py`, `loadgen/run/record.py` and `results/README.md`"
        ),
        f"Format {FORMAT}. Each run has a folder of its own below `results/`. All times are integer nanoseconds since"
        " the Unix epoch (`*_ns`). Null means that something did not happen or is not known; it never means zero."
        " `analysis.load(FOLDER)` reads a run's folder, and any program that reads Parquet can read its tables.\n",
        "## Files\n",
        _shown(_rows(sections[""])),
        "## manifest.json\n",
        table(
            ("key", "meaning"),
            [(code(name), meanings[name]) for name in sorted(names, key=list(meanings).index)],
        ),
        f"Phases, in order: {', '.join(code(name) for name in PHASES)}.\n",
    ]
    for name, schema in {**SCHEMAS, **_computed()}.items():
        title = f"{name}.parquet"
        if title not in sections:
            continue
        meanings, nullable = _meanings(sections[title], 2), _nullable(sections[title])
        _agree(title, schema.names, meanings)
        rows = [
            (code(column.name), _type(column.type, column.name in nullable), meanings[column.name])
            for column in schema
        ]
        parts += [f"## {title}\n", *_prose(sections[title], before_table=True)]
        parts += [table(("column", "type", "meaning"), rows), *_prose(sections[title], before_table=False)]
    _agree_on_summary(_meanings(sections["summary.json"], 1))
    for title in ("summary.json", "histograms.hlog"):
        parts += [f"## {title}\n", sections[title].strip() + "\n"]
    return _links("\n".join(parts))


def _computed() -> dict[str, pa.Schema]:
    """Return the schemas of the tables that the analysis adds to a run.

    The schemas come from the sample run's files, except that of `replies`: the sample run has no such table.
    """
    written = {name: pq.read_schema(_SAMPLE / f"{name}.parquet") for name in ("fanout", "ledger")}
    return {**written, "replies": REPLIES}


def _agree_on_summary(meanings: dict[str, str]) -> None:
    """Check that ``meanings`` has each key of the sample run's summary, and only keys that a summary may have."""
    sample = json.loads((_SAMPLE / "summary.json").read_text(encoding="utf-8"))
    listed = revisions.keys(revisions.current())
    every = {re.split(r"[.\[]", key.removeprefix(_PREFIX))[0] for key in listed if key.startswith(_PREFIX)}
    _agree("summary.json", list(sample), {name: said for name, said in meanings.items() if name in sample})
    _agree("summary.json", list(every & set(meanings)), meanings)


def _links(text: str) -> str:
    """Turn links relative to results/README.md into links relative to the page."""
    return re.sub(r"\]\(\.\./docs/", "](../", text)


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (lines[:1] + lines[2:])]


def _shown(rows: list[list[str]]) -> str:
    return table(rows[0], [[cell.replace("\\|", "|") for cell in row] for row in rows[1:]])


def _meanings(section: str, column: int) -> dict[str, str]:
    """Return the meaning of each name in a section's table; all names in a row's first cell have the same meaning."""
    return {
        name: row[column].replace("\\|", "|")
        for row in _rows(section)[1:]
        for name in row[0].split("`")[1::2]
    }


def _nullable(section: str) -> set[str]:
    return {name for row in _rows(section)[1:] if ", null" in row[1] for name in row[0].split("`")[1::2]}


def _agree(where: str, names: list[str], meanings: dict[str, str]) -> None:
    if missing := [name for name in names if not meanings.get(name)]:
        raise ValueError(f"results/README.md says nothing of {', '.join(missing)} in {where}")
    if gone := [name for name in meanings if name not in names]:
        raise ValueError(f"results/README.md has {', '.join(gone)} in {where}, which the code has not")


def _type(kind: pa.DataType, nullable: bool) -> str:
    return ("text" if pa.types.is_dictionary(kind) or "string" in str(kind) else str(kind)) + (
        ", null" if nullable else ""
    )


def _prose(section: str, *, before_table: bool) -> list[str]:
    """Return the paragraphs before or after a section's table."""
    paragraphs = [paragraph.strip() for paragraph in section.strip().split("\n\n")]
    at = next((place for place, each in enumerate(paragraphs) if each.startswith("|")), len(paragraphs))
    return [each + "\n" for each in (paragraphs[:at] if before_table else paragraphs[at + 1 :])]
