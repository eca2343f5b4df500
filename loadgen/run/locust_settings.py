"""Find Locust options that are set in a configuration file or the environment instead of on the command line.

Locust reads `locust.conf`, `~/.locust.conf`, `[tool.locust]` of a `pyproject.toml`, the file given with `--config`, and
environment variables that begin with LOCUST_. `loadgen run` lets it read none of these (see `start_locust`).
"""

import os
import re
from pathlib import Path
from typing import Any, Final

#: Prefix of the environment variables that Locust reads.
VARIABLES: Final = "LOCUST_"
_FILES: Final = ("~/.locust.conf", "locust.conf", "pyproject.toml")
#: Maximum number of bytes read from a configuration file.
_MOST_BYTES: Final = 1_000_000
_SECTION: Final = "[tool.locust]"
_FROM_FILE: Final = "config_file|"
_FROM_ENVIRONMENT: Final = "environment_variables"


def ignored() -> str | None:
    """Return a sentence on Locust settings that `loadgen run` ignores, or None if there are none."""
    found = sorted(name for name in os.environ if name.startswith(VARIABLES))
    found += [name for name in _FILES if _has_settings(Path(name).expanduser())]
    if not found:
        return None
    return (
        f"note: settings of Locust have no effect on `loadgen run`: {', '.join(found)}; write what you mean as options,"
        " or run plain `locust`"
    )


def places(parser: Any) -> dict[str, str]:
    """Return the options that a file or environment variable sets, each with the name of that file or variable.

    Keys are the names of the parsed options. ``parser`` is Locust's parser after it has parsed its command line.
    """
    found: dict[str, str] = {}
    for source, settings in (parser.get_source_to_settings_dict() or {}).items():
        for key, (action, _) in settings.items():
            if source == _FROM_ENVIRONMENT:
                found[action.dest] = f"the environment variable {key}"
            elif source.startswith(_FROM_FILE):
                name = getattr(action, "dest", None) or key
                file = source.removeprefix(_FROM_FILE)
                line = _line_of(Path(file), key)
                found[name] = file if line is None else f"{file}:{line}"
    return found


def _has_settings(path: Path) -> bool:
    try:
        # Open regular files only, since opening a pipe would wait for a writer.
        return path.is_file() and (path.suffix != ".toml" or _SECTION in _text(path))
    except OSError:
        return False


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode(errors="replace")


def _line_of(path: Path, key: str) -> int | None:
    """Return the number of the line on which a configuration file sets an option, or None if it is not found."""
    try:
        lines = _text(path).splitlines()
    except OSError:
        return None
    inside = path.suffix != ".toml"
    setting = re.compile(rf"\s*[\"']?(--)?{re.escape(key)}[\"']?\s*([=:\s]|$)")
    for number, line in enumerate(lines, 1):
        if not inside or line.lstrip().startswith("["):
            inside = path.suffix != ".toml" or line.strip() == _SECTION
        elif setting.match(line):
            return number
    return None
