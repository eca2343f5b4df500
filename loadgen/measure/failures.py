"""What failed in this process that is not the service's doing: the user's own code, or the harness.

A run with such a failure is invalid: what was not sent or not observed because of it must not look like the service's
loss. Failures are counted by where they happened, so that a hook that raises a million times takes one entry.
"""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

from loadgen.measure.clock import now_ns

USER_CODE: Final = "user code"
HARNESS: Final = "harness"
#: Distinct places that are kept apart; failures at further ones are counted together.
MOST_PLACES: Final = 20
MOST_MESSAGE_CHARACTERS: Final = 300
_ELSEWHERE: Final = "elsewhere"


@dataclass(slots=True)
class Failure:
    """Failures of one kind at one place: the first one's message, and how many there were."""

    #: `USER_CODE` or `HARNESS`.
    kind: str
    #: Where it happened, such as `payload() at locustfile.py:12`.
    where: str
    #: Type and text of the first exception.
    message: str
    count: int
    #: Wall clock of the first.
    first_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, as the manifest has them."""
        return asdict(self)


class Failures:
    """The failures of one worker process. ``on_first`` is called with the first failure at each place."""

    def __init__(self, on_first: Callable[[Failure], object] = lambda failure: None) -> None:
        self._by_place: dict[tuple[str, str], Failure] = {}
        self._on_first = on_first

    def add(self, kind: str, hook: str, error: BaseException) -> None:
        """Count an exception that was caught where ``hook`` (such as `payload()`) was called; never raises."""
        where = f"{hook} at {place_of(error)}"
        known = self._by_place.get((kind, where))
        if known is None and len(self._by_place) >= MOST_PLACES:
            where = _ELSEWHERE
            known = self._by_place.get((kind, where))
        if known is not None:
            known.count += 1
            return
        failure = Failure(kind, where, message_of(error), 1, now_ns())
        self._by_place[kind, where] = failure
        self._on_first(failure)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the failures in the order in which they first happened, as the manifest has them."""
        return [failure.to_dict() for failure in self._by_place.values()]

    def __len__(self) -> int:
        return sum(failure.count for failure in self._by_place.values())


def place_of(error: BaseException) -> str:
    """Return `file:line` of where an exception was raised; files below the working directory by their short name."""
    frames = extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    path, line = Path(frames[-1].filename), frames[-1].lineno
    with contextlib.suppress(ValueError, OSError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"


def message_of(error: BaseException) -> str:
    """Return type and text of an exception on one line, cut to a length that fits a record."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        # An exception of the user's own whose text cannot be had.
        text = "(its text cannot be shown)"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= MOST_MESSAGE_CHARACTERS else text[: MOST_MESSAGE_CHARACTERS - 1] + "…"
