"""Checks asserted by the user's own code, and the default gate on them.

A failed check means that the service did something wrong in the eyes of the scenario's author. A run with failed checks
must not look passed only because its scenario has no gate on checks. The gate `checks.failed == 0` therefore applies to
every run with checks, unless the scenario has a gate on checks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from analysis import text
from analysis.gates.grammar import Gate, parse
from analysis.loading.run import Run
from analysis.verdict.evaluate import Result, evaluate

DEFAULT: Final = "checks.failed == 0"
_SAID: Final = "by default: no gate of the scenario is about checks"
#: Maximum number of failed checks that are shown by name.
_SHOWN: Final = 5


def summarise(run: Run) -> dict[str, Any] | None:
    """Return the summary's `checks` of master and workers, most failures first, or None if no check was made."""
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for said in (run.manifest, *run.manifest["workers"]):
        for name, counts in said.get("checks", {}).items():
            passed[name] += counts["passed"]
            failed[name] += counts["failed"]
    names = sorted({*passed, *failed}, key=lambda name: (-failed[name], name))
    if not names:
        return None
    return {
        "passed": passed.total(),
        "failed": failed.total(),
        "named": {name: {"passed": passed[name], "failed": failed[name]} for name in names},
    }


def decide(run: Run, summary: Mapping[str, Any], gates: Sequence[Gate]) -> list[Result]:
    """Decide the gates of a run, plus the default gate if checks were made and no gate is about checks."""
    results = evaluate(run, summary, list(gates))
    if summary["checks"] is None or any(gate.metric.name.startswith("checks.") for gate in gates):
        return results
    (implied,) = evaluate(run, summary, [parse(DEFAULT)])
    reason = f"{implied.reason}; {_SAID}" if implied.reason else _SAID
    return [*results, replace(implied, reason=reason)]


def sentence(summary: Mapping[str, Any]) -> str | None:
    """Return a sentence on how many checks failed, or None if no check was made."""
    # Summaries of earlier versions lack the key `checks`.
    found = summary.get("checks")
    if found is None:
        return None
    made = found["passed"] + found["failed"]
    return (
        f"checks: {found['failed']:,} of {made:,} failed"
        if found["failed"]
        else f"checks: all {made:,} passed"
    )


def failing(summary: Mapping[str, Any]) -> list[str]:
    """Return a sentence on each of the checks that failed most often."""
    named = (summary.get("checks") or {"named": {}})["named"]
    broken = [(name, counts) for name, counts in named.items() if counts["failed"]]
    said = [
        f"check {text.clean(name)}: {counts['failed']:,} of {sum(counts.values()):,} failed"
        for name, counts in broken[:_SHOWN]
    ]
    if len(broken) > _SHOWN:
        said.append(f"and {len(broken) - _SHOWN:,} other checks failed: summary.json has them")
    return said
