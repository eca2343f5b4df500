"""The run folders in a folder of runs."""

from pathlib import Path


def runs_in(folder: Path, having: str = "manifest.json") -> list[Path]:
    """Return the folders of the runs in ``folder`` that have this file, by name.

    Links are left out, since `latest` names a run that is there by its own name too, and so are hidden folders, in
    which runs are made.
    """
    found = (path.parent for path in folder.glob(f"*/{having}"))
    return sorted(path for path in found if not path.is_symlink() and not path.name.startswith("."))
