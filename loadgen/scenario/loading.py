"""Find scenarios, read them, and override their values."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from loadgen.config import document
from loadgen.config.problems import Places, Problem, ScenarioError
from loadgen.config.text import named, nearest, shown
from loadgen.paths import bundle
from loadgen.scenario.overrides import override
from loadgen.scenario.recordings import read_recordings
from loadgen.scenario.repeating import MANIFEST, is_run, scenario_of
from loadgen.scenario.scenario import Scenario, validated

_SUFFIXES = (".yaml", ".yml")
_MAX_FILE_BYTES = 1_000_000
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class Written(NamedTuple):
    """A scenario, the places (file and line) where its parts are written, and the folder of its data files."""

    scenario: Scenario
    places: Places
    folder: Path


def read(
    name_or_path: str, overrides: Mapping[str, str], check: Callable[[Scenario], Iterable[Problem]]
) -> Written:
    """Return a scenario, given by its name in the catalogue, its path, or the folder of a recorded run.

    `loadgen.resolve.loading.load` calls this with the target's checks; other modules should call `load` instead of
    this.

    Overrides map dotted paths (``clients.readers.count``) to YAML text (``500``). ``check`` yields problems that
    concern several parts of the scenario together, as in `scenario.validated`.

    Raises:
        ScenarioError: the scenario does not exist, cannot be read, or is invalid.
    """
    path = find(name_or_path)
    if is_run(path):
        source = _source(path / MANIFEST)
        return written(scenario_of(path), Places(source), path, overrides, check)
    source = _source(path)
    data, places = document.parse(_text(path, source), source)
    if data is None:
        raise ScenarioError([f"{source}: the file is empty; a scenario begins with 'version: 1'"])
    if isinstance(data, dict):
        data.setdefault("name", _name_of(path))
        places.of.setdefault(("name",), f"{source} (its file's name; write 'name: …')")
    return written(data, places, path.parent, overrides, check)


def written(
    data: Any,
    places: Places,
    folder: Path,
    overrides: Mapping[str, str],
    check: Callable[[Scenario], Iterable[Problem]],
) -> Written:
    """Return the scenario that ``data`` (parsed YAML or JSON) describes; its data files are in ``folder``.

    ``overrides``, ``check`` and the error raised are as in :func:`read`.
    """
    override(data, places, overrides)
    problems = read_recordings(data, places, folder)
    try:
        scenario = validated(data, places, check)
    except ScenarioError as error:
        raise ScenarioError([*error.problems, *problems]) from None
    if problems:
        raise ScenarioError(problems)
    return Written(scenario, places, folder)


def find(name_or_path: str) -> Path:
    """Return the path of a scenario by its name in the catalogue or its path.

    A text with a directory or a suffix such as `.yaml` is a path; it is not checked whether the file exists. Any other
    text is first looked up in the catalogue, and then as a file or folder.

    Raises:
        ScenarioError: there is no such scenario, file or folder.
    """
    path = Path(name_or_path)
    if path.suffix in _SUFFIXES or len(path.parts) != 1:
        return path
    names = _names()
    if name_or_path in names:
        return bundle("scenarios") / f"{name_or_path}.yaml"
    try:
        if path.is_file() or is_run(path):
            return path
    except (OSError, ValueError):  # the text cannot be a file name, for example because of a null character
        pass
    raise ScenarioError([f"there is no scenario {shown(name_or_path)}{nearest(name_or_path, names)}"])


def _name_of(path: Path) -> str:
    """Return the name of the scenario in a file: `my-test` for `my test.yaml`.

    The name becomes part of a folder's name, so each character that folder names should not have becomes a hyphen.
    """
    return _NOT_OF_NAMES.sub("-", path.stem).strip("-._")[:64] or path.stem


def _names() -> list[str]:
    return [path.stem for path in sorted(bundle("scenarios").glob("*.yaml"))]


def _text(path: Path, source: str) -> str:
    try:
        if path.is_dir():
            raise ScenarioError([f"{source}: this is a directory; give a scenario's file or name"])
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ScenarioError([f"{source}: the file is larger than 1 MB, too large for a scenario"])
        return document.read_text(path, "utf-8-sig")
    except FileNotFoundError:
        hint = nearest(path.stem, _names()).replace("known are", "the catalogue has")
        raise ScenarioError([f"{source}: there is no such file{hint}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError([f"{source}:{line}: the file is not UTF-8; save it as UTF-8"]) from None
    except OSError as error:
        raise ScenarioError([f"{source}: the file cannot be read: {error.strerror}"]) from None
    except ValueError:  # the path contains a null character
        raise ScenarioError([f"{source}: no file can have this name"]) from None


def _source(path: Path) -> str:
    """Return the path for messages: relative if it is below the working directory."""
    text = str(path)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        text = str(path.relative_to(Path.cwd()))
    return named(text)
