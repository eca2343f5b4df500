"""The plan of `loadgen ab`, stored in the folder of the runs.

It tells a later comparison whether the series of runs could stop early, which changes the statistical test.
"""

import json
from pathlib import Path
from typing import Final

from analysis.loading.run import ReadError
from analysis.record import files

FORMAT: Final = 1
NAME: Final = "ab.json"
#: Maximum number of pairs of a plan.
MOST_MAX: Final = 100


def write(folder: Path, most: int | None) -> None:
    """Write the plan of the runs in ``folder``.

    ``most`` is the maximum number of pairs, or None if the number of pairs is fixed.

    Raises:
        OSError: the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.output(folder / NAME, json.dumps({"format": FORMAT, "most": most}) + "\n")


def most_of(base: Path, new: Path) -> int | None:
    """Return the maximum number of pairs in the plan that two folders of runs share.

    Return None if they share no plan, or if the plan could not stop early.

    Raises:
        ReadError: the plan cannot be read.
    """
    parent = base.absolute().parent
    path = parent / NAME
    if parent != new.absolute().parent or base.name == new.name or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        form, most = content["format"], content["most"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        form, most = None, None
    if form != FORMAT or not (most is None or (type(most) is int and 2 <= most <= MOST_MAX)):
        raise ReadError(f"{path} is not a plan of `loadgen ab`: compare copies of the two folders elsewhere")
    return most
