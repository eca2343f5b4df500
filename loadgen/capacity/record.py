"""`capacity.json`: what was asked, every trial, and what is known; rewritten whole after each trial."""

import json
import os
from pathlib import Path
from typing import Any, Final

from analysis.record import files, revisions
from analysis.verify.compared import DamagedError, read_json

FORMAT: Final = 1
NAME: Final = "capacity.json"


class RecordError(Exception):
    """The folder cannot be used; the text is one sentence."""


def write(folder: Path, content: dict[str, Any]) -> None:
    """Replace the record at once: whoever reads it, and whatever kills us, finds the old one or the new one."""
    path = folder / NAME
    with files.replacing(path) as new, new.open("w") as file:
        json.dump({"format": FORMAT, "made_by": revisions.made_by(), **content}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> dict[str, Any]:
    """Return the record of a folder.

    Raises:
        RecordError: there is none, or it is not one.
    """
    try:
        content = read_json(folder / NAME)
    except FileNotFoundError:
        raise RecordError(
            f"{folder} has no {NAME}: give the folder that `loadgen capacity` printed"
        ) from None
    except DamagedError as error:
        raise RecordError(f"{folder / NAME} {error}") from None
    if content.get("format") != FORMAT:
        raise RecordError(f"{folder / NAME} is not of format {FORMAT}: it was written by another version")
    return content
