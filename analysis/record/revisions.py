"""Which keys each version of loadgen writes, so that a key an older version did not know is told from a wrong one.

A file that the analysis writes says in `made_by` which version made it: the program's version, and a revision that
rises whenever a key is added or removed, or a figure is computed in another way. `revisions.json` lists the changes of
each revision. Files without `made_by` are of revision 0.

A key is written as ``file:path``, with ``[]`` for the entries of a list: ``summary.json:gates[].status``. The list is
kept complete by a test, and renewed by ``python -m tests.analysis.renew``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

SUMMARY: Final = "summary.json"
CAPACITY: Final = "capacity.json"
COMPARISON: Final = "comparison"
PATH: Final = Path(__file__).parent / "revisions.json"
#: Objects whose keys are data (error messages, names), not part of the format.
FREE: Final = frozenset(
    {
        f"{SUMMARY}:checks.named",
        f"{SUMMARY}:connections.errors",
        f"{SUMMARY}:echo.each[].errors",
        f"{SUMMARY}:faults",
        f"{SUMMARY}:publish.errors",
        f"{SUMMARY}:publish.events_by_status",
        f"{SUMMARY}:readiness.errors",
        f"{SUMMARY}:target.setup",
        f"{SUMMARY}:throttling.connections.answers",
        f"{SUMMARY}:throttling.subscriptions.answers",
        f"{SUMMARY}:workers.deviations",
        f"{SUMMARY}:workers.network",
    }
)


@dataclass(frozen=True, slots=True)
class Maker:
    """The version that made a file. `revision` is 0, and `version` None, in files from before revisions."""

    version: str | None
    revision: int

    @property
    def older(self) -> bool:
        """Whether it is older than this version."""
        return self.revision < current()

    @property
    def newer(self) -> bool:
        """Whether it is newer than this version."""
        return self.revision > current()

    @property
    def same(self) -> bool:
        """Whether it writes the keys that this version writes."""
        return self.revision == current()

    def writes(self, key: str) -> bool:
        """Return whether it writes a key; this version is taken to know what a newer one writes."""
        return key in keys(min(self.revision, current()))

    def computes(self, key: str) -> bool:
        """Return whether it computes a key (or anything around it) as this version does."""
        if self.newer:
            return True
        return not any(
            key == changed or key.startswith((f"{changed}.", f"{changed}["))
            for entry in _entries()[self.revision + 1 :]
            for changed in entry["changed"]
        )

    def __str__(self) -> str:
        if self.revision < 0:
            return "a version that is not known"
        if not self.revision:
            return "a version from before revisions"
        return f"loadgen {self.version or 'of unknown version'}, revision {self.revision}"


#: Of a file that does not say who made it, as its summary cannot be read.
UNKNOWN: Final = Maker(None, -1)


def maker_of(content: Any) -> Maker:
    """Return the version that made a file.

    Raises:
        ValueError: its `made_by` is none that loadgen writes.
    """
    if not isinstance(content, Mapping) or "made_by" not in content:
        return Maker(None, 0)
    said = content["made_by"]
    if not isinstance(said, Mapping) or set(said) != {"version", "revision"}:
        raise ValueError(f"made_by is {said!r}")
    version, revision = said["version"], said["revision"]
    if type(revision) is not int or revision < 1 or not (version is None or isinstance(version, str)):
        raise ValueError(f"made_by is {said!r}")
    return Maker(version, revision)


def made_by() -> dict[str, Any]:
    """Return what a file says of this version under `made_by`."""
    return {"version": version(), "revision": current()}


@cache
def version() -> str | None:
    """Return the version of the installed program, or None if it runs without being installed."""
    try:
        return metadata.version("fanout-loadgen")
    except metadata.PackageNotFoundError:
        return None


def current() -> int:
    """Return the revision that this version writes."""
    return len(_entries()) - 1


@cache
def keys(revision: int) -> frozenset[str]:
    """Return all keys that a revision writes."""
    found: set[str] = set()
    for entry in _entries()[: revision + 1]:
        found |= set(entry["added"])
        found -= set(entry["removed"])
    return frozenset(found)


def shape(name: str, content: Any) -> set[str]:
    """Return the keys of a file's content; those of objects in `FREE` are data and left out."""
    return set(_shape(content, f"{name}:"))


def _shape(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, Mapping) and at not in FREE:
        for key, each in value.items():
            below = child(at, key)
            yield below
            yield from _shape(each, below)
    elif isinstance(value, list):
        for each in value:
            yield from _shape(each, child(at, 0))


def child(at: str, step: str | int) -> str:
    """Return the key below another one, or of the entries of a list."""
    if isinstance(step, int):
        return f"{at}[]"
    return f"{at}{step}" if at.endswith(":") else f"{at}.{step}"


@cache
def _entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return entries


def reload() -> None:
    """Read `revisions.json` again."""
    _entries.cache_clear()
    keys.cache_clear()
