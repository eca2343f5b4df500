"""Failures of this process that the service did not cause: in the user's code, in the harness, or in the network.

A run with such a failure is invalid: otherwise the events that the failure kept from being sent or observed would look
like losses of the service. Failures are counted by place, so that a hook that raises a million times takes one entry.
"""

import contextlib
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final

from loadgen.measure.clock import now_ns

USER_CODE: Final = "user code"
HARNESS: Final = "harness"
#: The load generator's machine could not resolve the target's name, or the run is not allowed to connect to its
#: address.
NETWORK: Final = "network"
#: Distinct places that are counted separately; failures at further places share one entry.
MOST_PLACES: Final = 20
MOST_MESSAGE_CHARACTERS: Final = 300
_ELSEWHERE: Final = "elsewhere"
_OURS: Final = tuple(f"{Path(__file__).parents[2] / name}/" for name in ("loadgen", "analysis"))
#: Folders of Python's standard library and of installed packages.
_LIBRARIES: Final = tuple(
    {
        f"{path}/"
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
        if (path := sysconfig.get_path(name))
    }
)


@dataclass(slots=True)
class Failure:
    """The failures of one kind at one place in the code: their number, and the message of the first."""

    #: `USER_CODE`, `HARNESS` or `NETWORK`.
    kind: str
    #: The place, such as `payload() at locustfile.py:12`.
    where: str
    #: Type and text of the first exception.
    message: str
    count: int
    #: Wall-clock time of the first failure (ns since the epoch).
    first_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in the form used in the manifest."""
        return asdict(self)


class Failures:
    """The failures of one worker process. ``on_first`` is called with the first failure at each place."""

    def __init__(self, on_first: Callable[[Failure], object] = lambda failure: None) -> None:
        self._by_place: dict[tuple[str, str], Failure] = {}
        self._on_first = on_first

    def add(self, kind: str, hook: str, error: BaseException, place: str | None = None) -> None:
        """Count an exception caught around a call of ``hook`` (such as `payload()`); never raises.

        Pass ``place`` if the traceback does not lead to the cause: an invalid return value is only found later.
        """
        where = f"{hook} at {place or place_of(error, kind)}"
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

    def take(self, other: "Failures") -> None:
        """Move the failures of ``other`` into this object, without calling ``on_first`` again."""
        for key, failure in other._by_place.items():
            known = self._by_place.get(key)
            if known is None:
                self._by_place[key] = failure
            else:
                known.count += failure.count
        other._by_place = {}

    @property
    def total(self) -> int:
        """Number of all failures."""
        return sum(each.count for each in self._by_place.values())

    def to_list(self) -> list[dict[str, Any]]:
        """Return the failures in the order of their first occurrence, in the form used in the manifest."""
        return [failure.to_dict() for failure in self._by_place.values()]

    def __len__(self) -> int:
        return sum(failure.count for failure in self._by_place.values())


def place_of(error: BaseException, kind: str = USER_CODE) -> str:
    """Return `file:line` of the place where an exception was raised; paths are relative to the working directory.

    If a library raised the exception, the line of the user's code that called the library goes first, as in
    `users.py:12 (in json/encoder.py:257)`. If ``kind`` is not `USER_CODE`, the line of the harness's code goes first
    instead.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    if not frames:
        return "an unknown place"
    path, line = frames[-1]
    responsible = is_users_file if kind == USER_CODE else _is_ours
    for own_path, own_line in reversed(frames):
        if responsible(own_path):
            if (own_path, own_line) == (path, line):
                break
            return f"{shown_path(own_path)}:{own_line} (in {'/'.join(Path(path).parts[-2:])}:{line})"
    return f"{shown_path(path)}:{line}"


def has_frame(error: BaseException, kind: str) -> bool:
    """Return True if the traceback has a frame in the user's code (for the kind `USER_CODE`) or in the harness."""
    responsible = is_users_file if kind == USER_CODE else _is_ours
    return any(responsible(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__))


def is_users_file(path: str) -> bool:
    """Return True if a source file belongs to the user, and not to a library or to the harness."""
    return not path.startswith(("<", *_LIBRARIES, *_OURS))


def shown_path(path: str) -> str:
    """Return a path for display, relative if it lies below the working directory."""
    shown = Path(path)
    with contextlib.suppress(ValueError, OSError):
        shown = shown.relative_to(Path.cwd())
    return str(shown)


def _is_ours(path: str) -> bool:
    return path.startswith(_OURS)


def message_of(error: BaseException) -> str:
    """Return the type and text of an exception on one line of at most `MOST_MESSAGE_CHARACTERS`."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        # The `__str__` of a user's exception may raise.
        text = "(its text cannot be shown)"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= MOST_MESSAGE_CHARACTERS else text[: MOST_MESSAGE_CHARACTERS - 1] + "…"
