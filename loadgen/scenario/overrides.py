"""Override single values of a scenario by their dotted paths."""

from collections.abc import Iterable, Mapping
from typing import Any

from loadgen.config import document
from loadgen.config.problems import Path, Places, ScenarioError
from loadgen.config.text import dotted, nearest, shown

#: Stands in messages about an override, where messages about a file have its name and line.
_PLACE = "override"
#: Mappings with freely chosen keys: a typing error in an override must not add a key to them.
_NAMED = {("clients",), ("data",), ("variables",)}


def overrides_of(items: Iterable[str]) -> dict[str, str]:
    """Return the values of `--set KEY=VALUE` options by key; if a key is given twice, its last value counts.

    Raises:
        ScenarioError: an option has no "=".
    """
    found = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not sign:
            raise ScenarioError([f"--set {item}: write KEY=VALUE, such as clients.readers.count=100"])
        found[key] = text
    return found


def override(data: Any, places: Places, overrides: Mapping[str, str]) -> None:
    """Set the values (YAML text) in ``data``, and record in ``places`` that they come from an override.

    Raises:
        ScenarioError: a path does not exist or a value is not YAML; the message names all such overrides.
    """
    problems: list[str] = []
    for key, text in overrides.items():
        steps = key.split(".")
        try:
            value, _ = document.parse(text, _PLACE)
        except ScenarioError:
            problems.append(f"{_PLACE}: {dotted(steps)} is given as {shown(text)}, which is not YAML")
            continue
        try:
            path = _put(data, steps, value)
        except ScenarioError as error:
            problems += error.problems
            continue
        for known in [each for each in places.of if each[: len(path)] == path]:
            del places.of[known]
        places.of[path] = _PLACE
    if problems:
        raise ScenarioError(problems)


def _put(data: Any, steps: list[str], value: Any) -> Path:
    path: Path = ()
    node = data
    for number, step in enumerate(steps, start=1):
        key = _key(node, path, step)
        path = (*path, key)
        if number == len(steps):
            node[key] = value
        else:
            node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    return path


def _key(node: Any, path: Path, step: str) -> str | int:
    """Return a part of a dotted path as a key or index of ``node``; raises ScenarioError if ``node`` cannot have it."""
    if isinstance(node, list):
        if step.isascii() and step.isdecimal() and int(step) < len(node):
            return int(step)
        message = f"has the entries 0 to {len(node) - 1}, not {shown(step)}"
        raise ScenarioError([f"{_PLACE}: {dotted(path)} {message}"])
    if not isinstance(node, dict):
        raise ScenarioError(
            [f"{_PLACE}: {dotted(path) or 'the scenario'} has no parts that could be overridden"]
        )
    if path in _NAMED and step not in node:
        raise ScenarioError(
            [f"{_PLACE}: {dotted((*path, step))} is not in the scenario{nearest(step, node)}"]
        )
    return step
