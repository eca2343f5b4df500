"""Load scenarios, and check them by the rules of their target's protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loadgen.config.problems import Places
from loadgen.data.tables import Tables
from loadgen.paths import bundle
from loadgen.resolve.checks import check, payloads, protocol_for
from loadgen.scenario.loading import Written, read
from loadgen.scenario.scenario import Scenario, validated


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
    """Return the scenario as :func:`load` does, and the tables of its data files, which the caller must close.

    Raises the same errors as :func:`load`.
    """
    return with_data(read(name_or_path, overrides or {}, partial(check, target=target)), target)


def with_data(found: Written, target: str | None = None) -> tuple[Scenario, Tables]:
    """Return the scenario of a file that was already read, and its data tables, which the caller must close.

    Raises:
        ScenarioError: the data cannot be used.
    """
    scenario, places, folder = found
    if not scenario.data and all(made.size is not None for _, made in payloads(scenario.clients)):
        return scenario, Tables()
    # Imported late: most scenarios have no files and no templates.
    from loadgen.resolve.data import read_data

    return read_data(scenario, places, folder, protocol_for(scenario, target).rules)


def from_resolved(data: Mapping[str, Any], target: str | None = None) -> Scenario:
    """Return the scenario from the data that `Scenario.resolved` has written; ``target`` is as in `load`.

    Raises:
        ScenarioError: the data are not a valid scenario.
    """
    return validated(data, Places("scenario"), partial(check, target=target))
