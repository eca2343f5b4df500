"""Read and write `capacity.json`: the request, every trial and the limits so far; rewritten after each trial."""

import json
import os
from pathlib import Path
from typing import Any, Final

from analysis.record import files, revisions
from analysis.verify.compared import DamagedError, read_json

FORMAT: Final = 1
NAME: Final = "capacity.json"


class RecordError(Exception):
    """A folder has no usable capacity.json; the error's text is one sentence."""


def write(folder: Path, content: dict[str, Any]) -> None:
    """Replace the record atomically: a reader, even after a crash, finds the old record or the new one."""
    path = folder / NAME
    with files.replacing(path) as new, new.open("w") as file:
        json.dump({"format": FORMAT, "made_by": revisions.made_by(), **content}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's capacity.json.

    Raises:
        RecordError: the file is missing, damaged, or of another format.
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
