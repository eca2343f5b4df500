"""List the keys that each version of loadgen writes, to tell keys that an older version lacks from keys that are wrong.

A file written by the analysis states in `made_by` what made it (its maker): the program's version, and a revision that
rises whenever a key is added or removed or a figure is computed differently. `revisions.json` lists the changes of each
revision. A file without `made_by` has revision 0.

A key is written as ``file:path``, with ``[]`` for the entries of a list: ``summary.json:gates[].status``. A test checks
that the list is complete; ``python -m tests.analysis.renew`` renews it.
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
        f"{SUMMARY}:connections.sessions",
        f"{SUMMARY}:echo.each[].errors",
        f"{SUMMARY}:faults",
        f"{SUMMARY}:publish.errors",
        f"{SUMMARY}:publish.events_by_status",
        f"{SUMMARY}:readiness.errors",
        f"{SUMMARY}:target.setup",
        f"{SUMMARY}:throttling.connections.answers",
        f"{SUMMARY}:throttling.subscriptions.answers",
        f"{SUMMARY}:workers.asides",
        f"{SUMMARY}:workers.deviations",
        f"{SUMMARY}:workers.network",
    }
)


@dataclass(frozen=True, slots=True)
class Maker:
    """The version that made a file; in files older than revisions, `version` is None and `revision` 0."""

    version: str | None
    revision: int

    @property
    def older(self) -> bool:
        """True if an older version made the file."""
        return self.revision < current()

    @property
    def newer(self) -> bool:
        """True if a newer version made the file."""
        return self.revision > current()

    @property
    def same(self) -> bool:
        """True if the version that made the file writes the same keys as this one."""
        return self.revision == current()

    def writes(self, key: str) -> bool:
        """Return True if the version that made the file writes a key.

        A newer version is assumed to write the same keys as this version.
        """
        return key in keys(min(self.revision, current()))

    def computes(self, key: str) -> bool:
        """Return True if the version that made the file computes the value of a key in the same way as this version.

        If an object is computed differently, so are all keys in it. A newer version is assumed to compute every key in
        the same way.
        """
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


#: Used as the maker of a summary.json that is missing or cannot be read.
UNKNOWN: Final = Maker(None, -1)


def maker_of(content: Any) -> Maker:
    """Return the version that made a file.

    Raises:
        ValueError: `made_by` has a form that loadgen never writes.
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
    """Return the value of `made_by` in files that this version writes."""
    return {"version": version(), "revision": current()}


@cache
def version() -> str | None:
    """Return the installed program's version, or None if it is not installed."""
    try:
        return metadata.version("fanout-loadgen")
    except metadata.PackageNotFoundError:
        return None


def current() -> int:
    """Return the revision of this version."""
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
    """Return the keys of a file's content, leaving out the keys of objects in `FREE`, which are data."""
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
    """Return the key of an object's member named ``step``, or of a list's entries if ``step`` is an int.

    ``at`` is the key of the object or list.
    """
    if isinstance(step, int):
        return f"{at}[]"
    return f"{at}{step}" if at.endswith(":") else f"{at}.{step}"


@cache
def _entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return entries


def reload() -> None:
    """Clear the caches, so that `revisions.json` is read again."""
    _entries.cache_clear()
    keys.cache_clear()
