"""Renew what the committed notebooks show of the sample data: `python -m tests.analysis.renew_notebooks [NAME …]`.

Run it when a notebook's code, or the analysis that it shows, changes, and look at the pictures.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from analysis.notebooks import FOLDER, NAMES, execute


def renewed(name: str, folder: Path) -> Any:
    """Execute a notebook on the sample data, and return it in the form in which it is committed.

    Left out is what depends on the machine: the version of Python.
    """
    notebook = nbformat.read(execute(name, None, into=folder), as_version=4)
    del notebook.metadata["loadgen"]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main(names: list[str]) -> None:
    """Renew the named notebooks, or all."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names or NAMES:
            path = FOLDER / f"{name}.ipynb"
            path.write_text(nbformat.writes(renewed(name, Path(folder))) + "\n", encoding="utf-8")
            print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
