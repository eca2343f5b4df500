"""Write a scenario that a caller gives as a mapping, and the files beside it, to disk for `loadgen run`."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import extras


def yaml(value: Any) -> str:
    """Return a value as YAML for `--set`; a `str` is taken to be YAML and returned unchanged."""
    # JSON is valid YAML.
    return value if isinstance(value, str) else json.dumps(value)


def file_name(scenario: Mapping[str, Any]) -> str:
    """Return a name for the scenario's file: the scenario's own name if it is valid, else `scenario`."""
    name = scenario.get("name")
    return name if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9-]{1,60}", name) else "scenario"


def write(path: Path, scenario: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    """Write a scenario and the files beside it; raises TypeError for content that no file can hold."""
    path.parent.mkdir()
    try:
        path.write_text(json.dumps(scenario, indent=1, ensure_ascii=False), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise TypeError(f"the scenario is not a mapping of JSON values: {error}") from None
    for name, content in files.items():
        beside = path.parent / name
        if beside == path or not beside.resolve().is_relative_to(path.parent.resolve()):
            raise TypeError(f"the file {name!r} does not stand beside the scenario")
        beside.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, os.PathLike):
            beside.write_bytes(Path(content).read_bytes())
        elif isinstance(content, bytes):
            beside.write_bytes(content)
        elif isinstance(content, str):
            beside.write_text(content, encoding="utf-8", newline="")
        else:
            _write_rows(beside, content)


def _write_rows(path: Path, rows: Any) -> None:
    """Write rows, as mappings or a DataFrame, in the format that the file's name says."""
    extras.require("pandas", "writing rows")
    import pandas as pd

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False, date_format="iso")
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        raise TypeError(
            f"rows can be written as .csv, .jsonl or .parquet, and the file's name is {path.name!r}"
        )
