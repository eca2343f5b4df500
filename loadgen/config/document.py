"""Read YAML into plain data, and record the line of each part."""

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path as File
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from loadgen.config.problems import Path, Places, ScenarioError
from loadgen.config.text import dotted, redacted, shown

_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "str")}
_MAX_DEPTH = 20
_MAX_VALUES = 100_000
_MAX_OPEN = 100
#: Parsed trees of texts up to this length are cached. The tree of a longer text takes megabytes, so it is not cached.
_KEPT_CHARACTERS = 20_000
_TOO_DEEP = "the YAML is nested too deeply; write plain values"
_TOO_LARGE = "the file is larger than 1 MB, which no file of this kind is"
MAX_BYTES = 1_000_000
"""Size limit of any YAML or JSON file that people write: scenarios, protocols, logins, prices, faults, APIs."""


def parse(text: str, source: str) -> tuple[Any, Places]:
    """Return the plain data of a YAML text, and the place of each part (``source:line``).

    Raises:
        ScenarioError: the text is not one YAML document of plain values, is too long or nested too deeply, or has a
            key twice.
    """
    if len(text) > MAX_BYTES:
        raise ScenarioError([f"{source}: {_TOO_LARGE}"])
    _refuse_nested_line(text, source)
    yaml = YAML(typ="safe", pure=True)
    try:
        root = (_composed if len(text) <= _KEPT_CHARACTERS else _composed.__wrapped__)(text)
    except RecursionError:
        raise ScenarioError([f"{source}: {_TOO_DEEP}"]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        what = (error.problem or error.context or "unreadable").split("\n")[0]
        if what.startswith("but ") and error.context:
            what = f"{error.context}, {what}"
        raise ScenarioError([redacted(f"{place}: the YAML cannot be read: {what}")]) from None
    except YAMLError as error:  # characters that YAML does not allow
        what = str(error).split("\n")[0]
        raise ScenarioError([redacted(f"{source}: the YAML cannot be read: {ascii(what)[1:-1]}")]) from None
    places = Places(source)
    if root is None:
        return None, places
    reader = _Reader(yaml, places)
    data = reader.read(root, ())
    if reader.problems:
        raise ScenarioError(reader.problems)
    return data, places


@lru_cache(maxsize=32)
def _composed(text: str) -> Node | None:
    """Return the nodes of a YAML text from a cache; callers must not change them.

    A scenario is read several times, for its plan, its estimate and its record, and parsing takes most of the time.
    """
    # Leave out the parser's warnings, which quote the file. One is that an anchor occurs twice, which YAML allows.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    return root


def _refuse_nested_line(text: str, source: str) -> None:
    """Refuse a line with more than 100 open brackets: the YAML reader's time grows with the square of their number."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count("[") + line.count("{") <= _MAX_OPEN:
            continue
        depth = 0
        for character in line:
            if character in "[{":
                depth += 1
            elif character in "]}" and depth:
                depth -= 1
            if depth > _MAX_OPEN:
                raise ScenarioError([f"{source}:{number}: {_TOO_DEEP}"])


def read_text(path: File, encoding: str = "utf-8") -> str:
    """Return the text of a file; a larger file than `MAX_BYTES` is refused without being read whole.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not in ``encoding``.
        ScenarioError: the file is larger than `MAX_BYTES`.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ScenarioError([f"{path}: {_TOO_LARGE}"])
    return content.decode(encoding)


class _Reader:
    def __init__(self, yaml: YAML, places: Places) -> None:
        self._yaml = yaml
        self._places = places
        self._values = 0
        self.problems: list[str] = []

    def read(self, node: Node, path: Path) -> Any:
        """Return a YAML node as plain data; record the line of each part, and the problems."""
        self._places.of.setdefault(path, self._place(node))
        self._values += 1
        if len(path) > _MAX_DEPTH or self._values > _MAX_VALUES:  # YAML aliases may recurse or multiply
            where = f"{self._place(node)}: {dotted(path[:2])}"
            raise ScenarioError([f"{where} is nested too deeply or has too many values; write plain values"])
        if isinstance(node, MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, SequenceNode):
            return [self.read(child, (*path, number)) for number, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _entries(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._refuse(key_node, path, "has a key that is not a plain word")
                continue
            key = key_node.value
            below = (*path, key)
            if key in lines:
                self._refuse(key_node, below, f"stands twice, first in line {lines[key]}; remove one of them")
                continue
            lines[key] = key_node.start_mark.line + 1
            self._places.of[below] = self._place(key_node)
            yield key, self.read(value_node, below)

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        tag = str(node.tag)
        if tag not in _SCALARS:
            if node.style is None and tag.startswith("tag:yaml.org,2002:"):
                # Keep a date, for example, as text. The pydantic model accepts or refuses it.
                return node.value
            self._refuse(node, path, f"has the tag {shown(tag)}; write plain values")
            return None
        try:
            return self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError, OverflowError):
            self._refuse(node, path, f"is {shown(node.value)}, which cannot be read")
            return None

    def _refuse(self, node: Node, path: Path, message: str) -> None:
        subject = dotted(path) if path else "the scenario"
        self.problems.append(redacted(f"{self._place(node)}: {subject} {message}"))

    def _place(self, node: Node) -> str:
        return f"{self._places.source}:{node.start_mark.line + 1}"
