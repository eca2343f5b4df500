"""Renew the outputs in the committed notebooks: `python -m tests.analysis.renew_notebooks [NAME …]`.

Run it when a notebook's code, or the analysis whose results it shows, changes, and look at the pictures. The
notebooks show the sample data.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from analysis.notebooks import FOLDER, NAMES, execute


def renewed(name: str, folder: Path) -> Any:
    """Execute a notebook on the sample data, and return it in the form in which it is committed.

    The version of Python is left out, as it depends on the machine.
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
