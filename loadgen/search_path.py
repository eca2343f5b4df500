"""Stop Python from importing modules of the working directory in place of libraries.

Python puts the working directory first on `sys.path` for `python -m` and for an empty entry of PYTHONPATH, and Locust
does so for every locustfile. A `numpy.py` there would then run in place of the library. This module imports only `os`
and `sys`, which Python has loaded before it searches any folder.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import FrameType

#: The folder that holds this package: a checkout, or `site-packages`.
PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  no pathlib yet
_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120
_LOADING = "load_locustfile"


def leave_out_working_folder() -> None:
    """Remove the working directory from those entries of `sys.path` that come before the standard library.

    The directory stays if PYTHONPATH names it by its absolute path. Later entries stay too, such as that of an editable
    install. The folder of this package is appended if it is missing, so that the package stays importable.
    """
    _take_out()
    if PACKAGE_PARENT not in sys.path:
        sys.path.append(PACKAGE_PARENT)


def put_locustfile_last() -> None:
    """Make Python search the working directory and the folder of the loading locustfile last.

    Locust puts both first. The user's code can still import the modules beside it, but none of them replaces a library.
    Does nothing outside a Locust process.
    """
    if "locust.main" not in sys.modules:
        return
    loading = _is_loading() and sys.path[0] != _working_folder()
    folders = [sys.path.pop(0)] if loading else []
    folders += _take_out()
    _search_last(folders)
    if loading:
        # Locust deletes the first entry of `sys.path` after loading a locustfile: insert one for Locust to delete.
        sys.path.insert(0, _STANDARD_LIBRARY)


def absolute_entries(pythonpath: str | None) -> list[str]:
    """Return the absolute paths in a PYTHONPATH: the entries that do not depend on the working directory."""
    return [entry for entry in (pythonpath or "").split(os.pathsep) if os.path.isabs(entry)]  # noqa: PTH117


def _search_last(folders: list[str]) -> None:
    """Let the code in ``folders`` import modules from there, unless a library has a module of the same name.

    Appending the folders to `sys.path` is not enough: a `ruamel.py` there would replace the namespace package `ruamel`,
    and a library that tries to import an optional package would find the user's file.
    """
    from importlib.machinery import PathFinder

    class Last:
        """An import finder that Python asks after all others.

        For imports by code in ``folders``, it finds top-level modules there. For all other imports, it finds none.
        """

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
            """Return the spec of a module, or None if it is not found; called by the import system."""
            if path is not None or not any(_is_below(_importer(), folder) for folder in folders):
                return None
            return PathFinder.find_spec(name, folders)

    if folders:
        sys.meta_path.append(Last)


def _importer() -> str:
    """Return the file of the code that runs the current import."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (
        "importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__
    ):
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


def _is_below(file: str, folder: str) -> bool:
    # A virtual environment in the folder has libraries below `site-packages`, and these are not the user's code.
    return "-packages" not in file and os.path.realpath(file).startswith(
        os.path.join(os.path.realpath(folder), "")  # noqa: PTH118
    )


def _take_out() -> list[str]:
    """Remove the working directory from `sys.path` where it precedes the standard library; return what was removed."""
    folder = _working_folder()
    if folder is None:
        # Nothing can be imported from a deleted folder.
        return []
    here = os.path.realpath(folder)
    if any(_same(entry, here) for entry in absolute_entries(os.environ.get("PYTHONPATH"))):
        return []
    front = sys.path.index(_STANDARD_LIBRARY) if _STANDARD_LIBRARY in sys.path else len(sys.path)
    kept = [entry for entry in sys.path[:front] if not _same(entry, here)]
    if len(kept) == front:
        return []
    sys.path[:front] = kept
    return [here]


def _working_folder() -> str | None:
    """Return the working directory, or None if it has been deleted."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None


def _same(entry: str, folder: str) -> bool:
    return os.path.realpath(entry or os.curdir) == folder


def _is_loading() -> bool:
    """Return True while Locust loads a locustfile; the file's folder is then the first entry of `sys.path`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != _LOADING:
        frame = frame.f_back
    return frame is not None
