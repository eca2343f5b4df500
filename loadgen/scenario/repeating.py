"""Take a scenario from the record of a run, so that the run can be repeated."""

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from analysis.record import files
from loadgen.config.problems import ScenarioError
from loadgen.config.text import named

MANIFEST: Final = "manifest.json"
_MAX_BYTES: Final = 16_000_000


def is_run(path: Path) -> bool:
    """Return True if a path is the folder of a run."""
    try:
        return (path / MANIFEST).is_file()
    except (OSError, ValueError):
        return False


def scenario_of(run: Path) -> dict[str, Any]:
    """Return the scenario of a recorded run as plain data, including the overrides of that run.

    Raises:
        ScenarioError: the record cannot be read, or the scenario needs files that are not part of the record.
    """
    data = _manifest(run).get("scenario")
    if not isinstance(data, dict):
        raise ScenarioError([f"{named(run / MANIFEST)}: it has no scenario"])
    groups = data.get("clients")
    users = any(isinstance(group, dict) and "users" in group for group in (groups or {}).values())
    if users or data.get("data"):
        lacking = "its users are Python code" if users else "its data are files"
        raise ScenarioError(
            [f"{named(run / MANIFEST)}: {lacking}, which a record does not hold; run the scenario's own file"]
        )
    return deepcopy(data)


def target_of(run: Path) -> str | None:
    """Return the URL of the target of a recorded run, or None if the run used the embedded server.

    Raises:
        ScenarioError: the record cannot be read.
    """
    target = _manifest(run).get("target")
    if not isinstance(target, dict) or target.get("embedded") is True:
        return None
    url = target.get("url")
    return url if isinstance(url, str) else None


def _manifest(run: Path) -> Mapping[str, Any]:
    path = run / MANIFEST
    if (trouble := files.trouble(path)) is not None:
        raise ScenarioError([f"{named(run / MANIFEST)} {trouble}"])
    try:
        status = path.stat()
    except OSError:
        raise ScenarioError([f"{named(run / MANIFEST)}: it cannot be read as JSON"]) from None
    return _read(path, (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=1)
def _read(path: Path, state: tuple[int, int, int, int]) -> Mapping[str, Any]:
    """Return the content of a manifest.

    ``state`` is the file's device, inode, modification time (ns) and size. The file is read again only if one of these
    changed.
    """
    if state[-1] > _MAX_BYTES:
        raise ScenarioError([f"{named(path)}: the file is larger than 16 MB, too large for a record of ours"])
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise ScenarioError([f"{named(path)}: it cannot be read as JSON"]) from None
    if not isinstance(found, dict):
        raise ScenarioError([f"{named(path)}: it is no record of a run"])
    return found
