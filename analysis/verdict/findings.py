"""A reason to doubt a run, and the part of the documentation that explains it."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

#: The topic of a finding. docs/troubleshooting.md has a section for each.
Subject = Literal[
    "user code",
    "harness",
    "record",
    "ledger",
    "pause",
    "throttling",
    "memory",
    "steal",
    "network",
    "clock",
    "schedule",
    "queue",
    "arrival",
    "loop",
    "cpu",
    "gc",
    "files",
    "ports",
]
SUBJECTS: Final[tuple[Subject, ...]] = get_args(Subject)
#: The page of the documentation with a section for each subject; the path is from the repository's root.
PAGE: Final = "docs/troubleshooting.md"


@dataclass(frozen=True)
class Finding:
    """One reason to doubt a run, with advice."""

    #: The verdict that the finding alone would give: `degraded` or `invalid`.
    severity: str
    subject: Subject
    reason: str
    advice: str
    #: Largest shift or delay (ns) that the cause can have given to measured figures, or None if unknown.
    size_ns: int | None = None


def explained(subject: object) -> str | None:
    """Return a link to the section of the documentation that explains a subject, or None if there is no such section.

    Only the subjects in `SUBJECTS` have one; records and summaries of other versions may have other subjects.
    """
    return f"{PAGE}#{anchor(subject)}" if subject in SUBJECTS else None


def anchor(subject: Subject) -> str:
    """Return the anchor of a subject's section."""
    return subject.replace(" ", "-")
