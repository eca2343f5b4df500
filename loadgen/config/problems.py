"""The problems of a scenario, as sentences that say where the mistake is and what would be right."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from loadgen.config.text import dotted, redacted

Path = tuple[str | int, ...]


class ScenarioError(Exception):
    """A scenario, or another file that people write, cannot be used; ``str()`` has one line for each problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["ScenarioError"], tuple[tuple[str, ...]]]:
        """Support pickling. By default the joined text would be passed to ``__init__``, instead of the problems."""
        return ScenarioError, (self.problems,)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem at a path of the scenario; ``message`` completes a sentence that begins with the path."""

    path: Path
    message: str


@dataclass(slots=True)
class Places:
    """The places where the parts of a scenario were written, such as ``scenarios/x.yaml:12``."""

    source: str
    of: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """Return where the value at the path was written, such as file:line.

        If that is unknown, return where the nearest enclosing part was written.
        """
        for length in range(len(path), -1, -1):
            known = self.of.get(path[:length])
            if known is not None:
                return known
        return self.source

    def sentences(self, problems: Iterable[Problem]) -> Iterator[str]:
        """Yield each problem once as a sentence with its place, in the order of the file."""
        order = {path: number for number, path in enumerate(self.of)}

        def position(problem: Problem) -> int:
            path = problem.path
            while path and path not in order:
                path = path[:-1]
            return order.get(path, -1)

        for problem in dict.fromkeys(sorted(problems, key=position)):
            path = problem.path
            if path[:-1] in order and path not in order and isinstance(path[-1], int):
                # The file has one entry instead of a list, so the message names the entry without an index.
                path = path[:-1]
            subject = dotted(path) if path else "the scenario"
            yield redacted(f"{self.place(problem.path)}: {subject} {problem.message}")
