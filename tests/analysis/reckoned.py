"""Recompute the figures of a record only once, for many tests that change its summary, report or other outputs."""

from analysis.figures import derived
from analysis.loading.run import Run
from analysis.verify.check import Reckoned

#: Results computed from a record's tables, keyed by the name and content of each file that was read.
_KNOWN: dict[tuple[tuple[str, bytes], ...], Reckoned] = {}


def once(run: Run) -> Reckoned:
    """Return the `Reckoned` of a run, computed once for all runs with the same bytes.

    Use it in place of `Reckoned` in tests that do not patch the code, since a result is cached for the whole test run.
    """
    paths = sorted(path for path in run.path.glob("*.parquet") if path.stem not in derived.NAMES)
    key = tuple((path.name, path.read_bytes()) for path in (run.path / "manifest.json", *paths))
    return _KNOWN.setdefault(key, Reckoned(run))
