"""Copy a scenario of the catalogue with the files that belong to it, so that users can change it."""

import shutil
from pathlib import Path

from loadgen.config.problems import ScenarioError
from loadgen.scenario.loading import find

#: Files that are not copied: Python's caches, and the keys with which the original scenario signs tokens.
_LEFT_OUT = ("__pycache__", "signing.pem", "jwks.json")


def copy(name_or_path: str, folder: Path) -> list[Path]:
    """Copy a scenario file, and the folder of the same name beside it, into ``folder``; return the new files.

    Raises:
        ScenarioError: there is no such scenario, one of the files exists already, or a file cannot be written.
    """
    source = find(name_or_path)
    beside = source.with_suffix("")
    sources = [source]
    if beside.is_dir():
        sources += sorted(
            path
            for path in beside.rglob("*")
            if path.is_file() and not set(path.relative_to(beside).parts) & set(_LEFT_OUT)
        )
    copies = {path: folder / path.relative_to(source.parent) for path in sources}
    for path in copies.values():
        if path.exists():
            raise ScenarioError([f"{path}: this file exists; copy into another folder"])
    try:
        for path, target in copies.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as error:
        raise ScenarioError([f"{source} cannot be copied to {folder}: {error.strerror or error}"]) from None
    return list(copies.values())
