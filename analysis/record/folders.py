"""The run folders in a folder of runs."""

from pathlib import Path


def runs_in(folder: Path, having: str = "manifest.json") -> list[Path]:
    """Return the run folders in ``folder`` that contain the file ``having``, sorted by name.

    Links are left out, since the link `latest` would list a run a second time. Hidden folders are left out too, since
    they are runs that are still being written.
    """
    found = (path.parent for path in folder.glob(f"*/{having}"))
    return sorted(path for path in found if not path.is_symlink() and not path.name.startswith("."))
