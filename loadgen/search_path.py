"""Where Python imports from: never from the working directory before anything else.

Python puts the working directory first on `sys.path` for `python -m`, for an empty entry of PYTHONPATH, and Locust does
for every locustfile. A `numpy.py` there would then run in place of the library. Only `os` and `sys` are imported here:
Python has both before it looks into any folder.
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
    """Take the working directory out of what Python searches before its own library.

    It stays where PYTHONPATH names it by its absolute path, and behind everything else where an installed project lies
    in it. The folder of this package stays importable, behind everything else.
    """
    _take_out()
    if PACKAGE_PARENT not in sys.path:
        sys.path.append(PACKAGE_PARENT)


def put_locustfile_last() -> None:
    """Let Python search the working directory and the folder of the locustfile that is loading last.

    Locust puts both first. The user's code can still import its neighbours, but none takes the place of a library. Does
    nothing in a process that is not Locust's.
    """
    if "locust.main" not in sys.modules:
        return
    loading = _is_loading() and sys.path[0] != _working_folder()
    folders = [sys.path.pop(0)] if loading else []
    folders += _take_out()
    _search_last(folders)
    if loading:
        # Locust deletes its first entry when the file is loaded.
        sys.path.insert(0, _STANDARD_LIBRARY)


def absolute_entries(pythonpath: str | None) -> list[str]:
    """Return the entries of a PYTHONPATH that do not depend on where a process is started."""
    return [entry for entry in (pythonpath or "").split(os.pathsep) if os.path.isabs(entry)]  # noqa: PTH117


def _search_last(folders: list[str]) -> None:
    """Let the code in these folders import their modules, where nothing else has one of that name.

    The end of `sys.path` would not do. A `ruamel.py` there takes the place of the namespace package `ruamel`, and a
    library that tries to import what is not installed would find it there.
    """
    from importlib.machinery import PathFinder

    class Last:
        """Finds top-level modules in the folders."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
            """Return where a module is, or None; called by the import system."""
            if path is not None or not any(_is_below(_importer(), folder) for folder in folders):
                return None
            return PathFinder.find_spec(name, folders)

    if folders:
        sys.meta_path.append(Last)


def _importer() -> str:
    """Return the file of the code that is importing something at this moment."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (
        "importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__
    ):
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


def _is_below(file: str, folder: str) -> bool:
    # A virtual environment may stand there: its libraries are not the user's code.
    return "-packages" not in file and os.path.realpath(file).startswith(
        os.path.join(os.path.realpath(folder), "")  # noqa: PTH118
    )


def _take_out() -> list[str]:
    """Take the working directory out of the entries before the standard library; return it, absolute."""
    folder = _working_folder()
    if folder is None:
        # Nothing can be imported from it.
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
    """Whether Locust is executing a locustfile at this moment; its folder is then the first entry."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != _LOADING:
        frame = frame.f_back
    return frame is not None
