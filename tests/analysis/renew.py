"""Renew the committed outputs of the analysis: the sample run, the golden files, and the list of keys.

  python -m tests.analysis.renew [--amend] [--changed FILE:KEY …]

Run it when a change of the code changes a key, a figure or a word of the output, and read the diff: it shows
what the change does to reports. A change makes a new revision in `analysis/record/revisions.json`. It lists
the keys added and removed, and the keys that are computed differently, as far as the sample and the synthetic
runs show this. Name further keys with ``--changed``. ``--amend`` adds the change to the last revision
instead; use it only if that has not been released.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.__main__ import write
from analysis.compare import profile
from analysis.compare.content import Settings, Side, content
from analysis.record import revisions
from analysis.record.revisions import CAPACITY, COMPARISON, SUMMARY, Maker, child, shape
from analysis.verify import compared
from analysis.verify.compared import Verification
from loadgen.capacity import record
from tests.analysis import golden
from tests.capacity.searches import made_up_search
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"


def keys_now(runs: dict[str, golden.Written], folder: Path) -> set[str]:
    """Return all keys that this version writes into its JSON outputs."""
    return golden.keys_of(runs) | capacity_keys(folder) | comparison_keys() | golden.OTHERS


def capacity_keys(folder: Path) -> set[str]:
    """Return the keys of capacity.json, from simulated searches in a folder."""
    found = set()
    with pytest.MonkeyPatch.context() as patch:
        for name, more in (
            ("several", {"goals": ("delivery.latency.p50 < 20ms", "delivery.loss < 1%")}),
            ("refused", {"refuses_from": 10.0}),
        ):
            made = made_up_search(folder / name, patch, **more)
            found |= shape(CAPACITY, record.read(made))
    return found


def comparison_keys() -> set[str]:
    """Return the keys of a comparison in JSON."""
    side = Side.read_from(SAMPLE, profile.read(SAMPLE))
    settings = Settings(resamples=2)
    found = content(side, side, settings, settings.differences(side.runs, side.runs))
    found["setup"] = [{"what": "", "base": "", "new": ""}]
    return shape(COMPARISON, found)


def changed_keys(before: golden.Written, after: golden.Written) -> set[str]:
    """Return the keys whose values differ between two outputs that both have them, and the text files that differ."""
    found = {f"{name}:" for name, said in after.texts.items() if said.split() != before.texts[name].split()}
    return found | set(_changed(after.summary, before.summary, f"{SUMMARY}:"))


def _changed(here: Any, there: Any, key: str) -> set[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        if key in revisions.FREE:
            return set() if here == there else {key}
        both = [step for step in here if step in there]
        return set().union(*(_changed(here[step], there[step], child(key, step)) for step in both))
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        return set().union(
            *(_changed(one, other, child(key, 0)) for one, other in zip(here, there, strict=True))
        )
    return set() if compared.agree(here, there, golden.TOLERANCE) else {key}


def differences(name: str, before: golden.Written, after: golden.Written) -> list[str]:
    """Return one sentence for each difference between a run's committed output and its present one."""
    found = Verification()
    this = Maker(None, revisions.current())
    compared.figures(SUMMARY, after.summary, before.summary, this, found, tolerance=golden.TOLERANCE)
    for file, said in after.texts.items():
        compared.words(file, said, before.texts[file], this, found)
    return [f"{name}: {sentence}" for sentence in found.disagreements]


def main() -> None:
    """Renew all outputs, and print what has changed."""
    parser = argparse.ArgumentParser(description="Renew the sample, the golden files and the list of keys.")
    parser.add_argument("--amend", action="store_true", help="take the change into the last revision")
    parser.add_argument(
        "--changed", nargs="*", default=[], metavar="FILE:KEY", help="keys computed in another way"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = golden.all_written(Path(folder))
        keys = keys_now(runs, Path(folder))
    changed = set(options.changed)
    for name, after in runs.items():
        if (golden.FOLDER / f"{name}.json").exists():
            changed |= changed_keys(golden.Written.read(name), after)
    _revise(keys, changed, amend=options.amend)
    golden.FOLDER.mkdir(exist_ok=True)
    for old in golden.FOLDER.glob("*.json"):
        if old.stem not in runs:
            old.unlink()
    for name, after in runs.items():
        (golden.FOLDER / f"{name}.json").write_text(after.to_json(), encoding="utf-8")
    run = analysis.load(SAMPLE)
    unwritten = write(run, analysis.summarise(run), report=(SAMPLE / "report.html").exists())
    assert not unwritten, unwritten
    print(f"revision {revisions.current()}; now look at `git diff` and commit it")


def _revise(keys: set[str], changed: set[str], *, amend: bool) -> None:
    """Add a revision for the changes, or amend the last one; do nothing if nothing has changed."""
    entries: list[dict[str, Any]] = json.loads(revisions.PATH.read_text(encoding="utf-8"))
    last = revisions.keys(revisions.current())
    if keys == last and not changed:
        print("no key, figure or word has changed")
        return
    if amend:
        changed |= set(entries.pop()["changed"])
    before: set[str] = set()
    for entry in entries:
        before = (before | set(entry["added"])) - set(entry["removed"])
    added = keys - before
    entry = {
        "revision": len(entries),
        "added": sorted(added),
        "removed": sorted(before - keys),
        # A key that is new cannot have changed.
        "changed": sorted(key for key in changed if key not in added),
    }
    for what in ("added", "removed", "changed"):
        for key in entry[what]:
            print(f"{what}: {key}")
    entries.append(entry)
    revisions.PATH.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    revisions.reload()


if __name__ == "__main__":
    main()
