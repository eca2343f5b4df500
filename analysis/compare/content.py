"""A comparison as data: `loadgen compare --json` prints it, and its HTML page contains it for `loadgen verify`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.compare import outputs, services
from analysis.compare.decide import RESAMPLES, Difference, compare
from analysis.compare.profile import Profile
from analysis.record import revisions

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a comparison; the result depends only on the settings and on the runs."""

    #: Smallest relative change of a metric that counts as a change; 0.05 is 5 %.
    min_effect: float = 0.05
    confidence: float = 0.95
    #: Seed of the block bootstrap (`seed`), and the number of its draws (`resamples`).
    seed: int = 1
    resamples: int = RESAMPLES
    #: Maximum number of pairs of runs, if the comparison may stop early (see `chances`), or None if the number was
    #: fixed.
    most: int | None = None

    def differences(self, base: Sequence[Profile], new: Sequence[Profile]) -> list[Difference]:
        """Compare two sets of runs."""
        return compare(base, new, self.min_effect, self.confidence, self.seed, self.resamples, self.most)


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of one side of a comparison, with their path as it was given (`path`) and made absolute (`where`)."""

    path: str
    where: str
    runs: tuple[Profile, ...]

    @classmethod
    def read_from(cls, path: Path, runs: Sequence[Profile]) -> "Side":
        """Build a side from the runs that were read from ``path``."""
        return cls(str(path), str(path.absolute()), tuple(runs))

    def to_dict(self) -> dict[str, Any]:
        """Return the two forms of the side's path, and the name and creation time of each run, as plain data."""
        return {
            "path": self.path,
            "where": self.where,
            "runs": [{"run": run.run, "created_ns": run.created_ns} for run in self.runs],
        }


def content(base: Side, new: Side, settings: Settings, differences: Sequence[Difference]) -> dict[str, Any]:
    """Return a comparison as plain data."""
    sides = services.names(base.runs, new.runs)
    return {
        "format": FORMAT,
        "made_by": revisions.made_by(),
        "verdict": outputs.overall(differences),
        "base": base.to_dict(),
        "new": new.to_dict(),
        "min_effect": settings.min_effect,
        "confidence": settings.confidence,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "most": settings.most,
        "services": sides,
        "setup": [
            dict(zip(("what", "base", "new"), row, strict=True))
            for row in services.setup(base.runs, new.runs)
        ],
        "caveats": services.caveats(base.runs, new.runs) if sides else [],
        "doubts": outputs.doubts(base.runs, new.runs),
        "metrics": [difference.to_dict() for difference in differences],
    }
