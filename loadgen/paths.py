"""Where the files live that come with the program: in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE = _PACKAGE / "_bundle"


def bundle(relative: str) -> Path:
    """Return the path of a file or folder that a checkout has at its top level, such as ``scenarios``.

    An installed wheel carries these in ``loadgen/_bundle`` (``force-include`` in pyproject.toml). The path need not
    exist.
    """
    installed = _BUNDLE / relative
    return installed if installed.exists() else _PACKAGE.parent / relative
