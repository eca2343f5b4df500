"""Find the files shipped with the program, in a checkout or an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE = _PACKAGE / "_bundle"


def bundle(relative: str) -> Path:
    """Return the path of a file or folder from a checkout's top level, such as ``scenarios``.

    An installed wheel has these files in ``loadgen/_bundle`` (``force-include`` in pyproject.toml). The path need not
    exist.
    """
    installed = _BUNDLE / relative
    return installed if installed.exists() else _PACKAGE.parent / relative
