"""The result of a run that is over, for the web UI: its verdict and its report, read from the run folder."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.text import clean, verdict
from loadgen.exits import ExitCode

_SUMMARY: Final = "summary.json"
_REPORT: Final = "report.html"
#: Files larger than these limits are neither read nor served.
_SUMMARY_MAX_BYTES: Final = 64 * 1024 * 1024
_REPORT_MAX_BYTES: Final = 64 * 1024 * 1024
_HOLDS: Final = {"passed": True, "failed": False}
_WITHOUT_SUMMARY: Final = {
    ExitCode.INTERRUPTED: "Interrupted: no summary was made",
}


@dataclass(frozen=True)
class Outcome:
    """The result of one run."""

    folder: Path
    code: ExitCode
    #: Kind of the verdict: 'good', 'warning' or 'bad' (see `analysis.text.verdict`).
    kind: str
    sentence: str
    #: The verdict on the generator (valid, degraded, invalid) and its reasons, or None without a summary.
    judged: tuple[str, tuple[str, ...]] | None = None
    #: Gates in the form that `judge.Judge.gates` returns, with their final values.
    gates: tuple[Mapping[str, Any], ...] = ()
    #: The ledger's numbers of expected, delivered and lost deliveries, or None without a ledger.
    ledger: Mapping[str, int] | None = None

    @classmethod
    def of(cls, folder: Path, code: ExitCode) -> "Outcome":
        """Read the result from a run folder; never raises, as a summary may be missing or unreadable."""
        try:
            found = json.loads(_read(folder / _SUMMARY, _SUMMARY_MAX_BYTES))
            kind, sentence = verdict(found)
            if code is ExitCode.INTERRUPTED and kind == "good":
                # The run itself is complete, but the interrupt may have cut its report short.
                kind = "warning"
            ledger, judged = found["ledger"], found["verdict"]
            return cls(
                folder,
                code,
                kind,
                sentence,
                (clean(judged["kind"]), tuple(clean(each["reason"]) for each in judged["findings"])),
                tuple(
                    {
                        "text": clean(gate["gate"]),
                        "value": gate["value"],
                        "kind": clean(gate["kind"]).upper(),
                        "holds": _HOLDS.get(gate["status"]),
                    }
                    for gate in found["gates"]
                ),
                None
                if not ledger
                else {name: int(ledger[name]) for name in ("expected", "delivered", "lost")},
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return cls(folder, code, "bad", _WITHOUT_SUMMARY.get(code, "Inconclusive: no summary was made"))

    @property
    def has_report(self) -> bool:
        """True if the run folder has a report to serve."""
        try:
            found = os.lstat(self.folder / _REPORT)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size <= _REPORT_MAX_BYTES

    def report(self) -> bytes | None:
        """Return the HTML report, or None if there is none or it cannot be read."""
        try:
            return _read(self.folder / _REPORT, _REPORT_MAX_BYTES)
        except (OSError, ValueError):
            return None


def _read(path: Path, most_bytes: int) -> bytes:
    """Read a regular file, not through a symbolic link.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a regular one, or is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is not a regular file")
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{path} is larger than {most_bytes} bytes")
    return content
