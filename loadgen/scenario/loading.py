"""Find scenarios, read them, and override their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadgen.config import document
from loadgen.config.problems import ScenarioError
from loadgen.config.text import nearest, redacted, shown
from loadgen.data.tables import Tables
from loadgen.paths import bundle
from loadgen.scenario.overrides import override
from loadgen.scenario.recordings import read_recordings
from loadgen.scenario.scenario import Scenario, validated

_SUFFIXES = (".yaml", ".yml")
_MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A scenario shipped with the program."""

    name: str
    path: Path
    description: str


def catalogue() -> list[CatalogueEntry]:
    """Return the scenarios shipped with the program, in the order of their names.

    Raises:
        ScenarioError: a scenario is invalid.
    """
    return [
        CatalogueEntry(path.stem, path, load(str(path)).description)
        for path in sorted(bundle("scenarios").glob("*.yaml"))
    ]


def load(
    name_or_path: str, overrides: Mapping[str, str] | None = None, *, target: str | None = None
) -> Scenario:
    """Return the scenario with a name in the catalogue or at a path, with some values overridden.

    Overrides map dotted paths (``clients.readers.count``) to YAML text (``500``). ``target`` is the URL of a target
    that replaces the scenario's own, so that the rules of its protocol apply.

    Raises:
        ScenarioError: the scenario does not exist, cannot be read, or is invalid.
    """
    scenario, tables = load_with_data(name_or_path, overrides, target=target)
    tables.close()
    return scenario


def load_with_data(
    name_or_path: str, overrides: Mapping[str, str] | None = None, *, target: str | None = None
) -> tuple[Scenario, Tables]:
    """Return the scenario as :func:`load` does, and the rows of its data, which the caller closes; raises the same."""
    path = find(name_or_path)
    source = _source(path)
    data, places = document.parse(_text(path, source), source)
    if data is None:
        raise ScenarioError([f"{source}: the file is empty; a scenario begins with 'version: 1'"])
    if isinstance(data, dict):
        data.setdefault("name", path.stem)
        places.of.setdefault(("name",), f"{source} (its file's name; write 'name: …')")
    override(data, places, overrides or {})
    problems = read_recordings(data, places, path.parent)
    try:
        scenario = validated(data, places, target)
    except ScenarioError as error:
        raise ScenarioError([*error.problems, *problems]) from None
    if problems:
        raise ScenarioError(problems)
    made = [group.publish.made for group in scenario.clients.values() if group.publish is not None]
    if not scenario.data and all(each is None or each.size is not None for each in made):
        return scenario, Tables()
    # Imported late: most scenarios have no files.
    from loadgen.scenario.rows import read_data

    return read_data(scenario, places, path.parent, scenario.rules(target))


def find(name_or_path: str) -> Path:
    """Return the path of a scenario by its name in the catalogue or its path.

    A text that looks like a path is returned as a path, without checking that the file exists. Any other text is a name
    of the catalogue or else an existing file.

    Raises:
        ScenarioError: the text is neither.
    """
    path = Path(name_or_path)
    if path.suffix in _SUFFIXES or len(path.parts) != 1:
        return path
    names = _names()
    if name_or_path in names:
        return bundle("scenarios") / f"{name_or_path}.yaml"
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise ScenarioError([f"there is no scenario {shown(name_or_path)}{nearest(name_or_path, names)}"])


def _names() -> list[str]:
    return [path.stem for path in sorted(bundle("scenarios").glob("*.yaml"))]


def _text(path: Path, source: str) -> str:
    try:
        if path.is_dir():
            raise ScenarioError([f"{source}: this is a directory; give a scenario's file or name"])
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ScenarioError([f"{source}: the file is larger than 1 MB, which is no scenario"])
        return document.read_text(path, "utf-8-sig")
    except FileNotFoundError:
        hint = nearest(path.stem, _names()).replace("known are", "the catalogue has")
        raise ScenarioError([f"{source}: there is no such file{hint}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError([f"{source}:{line}: the file is not UTF-8; save it as UTF-8"]) from None
    except OSError as error:
        raise ScenarioError([f"{source}: the file cannot be read: {error.strerror}"]) from None
    except ValueError:  # a null character in the path
        raise ScenarioError([f"{source}: no file can have this name"]) from None


def _source(path: Path) -> str:
    """Return the path for messages: relative if it is below the working directory."""
    text = str(path)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        text = str(path.relative_to(Path.cwd()))
    return redacted(text) if text.isprintable() else shown(text)
