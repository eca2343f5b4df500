"""Optional parts of the installation ("extras"): the packages of each, and the error message if an extra is missing.

The message says how to add the extra to this installation, from the source of the installed loadgen (PEP 610). It never
suggests installing loadgen from a package index: if the source is unknown or gone, it names the extra's packages.
"""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

DISTRIBUTION: Final = "fanout-loadgen"
#: Environment variable that is set in the container image (docs/deploy/Dockerfile).
IMAGE: Final = "LOADGEN_IMAGE"
#: Modules that are installed only with an extra, by the extra's name in pyproject.toml.
MODULES: Final = {
    "aws": ("boto3", "botocore"),
    "compare": ("ruptures", "scipy"),
    "live": ("opentelemetry",),
    "pandas": ("pandas",),
    "notebooks": ("ipykernel", "nbclient", "nbformat"),
    "pdf": ("weasyprint",),
    "verify": ("duckdb", "scipy"),
}
_OF_EXTRA = re.compile(r""";.*\bextra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


class ExtraMissingError(ModuleNotFoundError):
    """An extra is not installed; the message is one sentence that says how to install it."""


def require(extra: str, purpose: str) -> None:
    """Check that an extra is installed, before work begins that would need it later.

    Args:
        extra: the extra's name, a key of `MODULES`.
        purpose: the feature that needs the extra, such as "loadgen compare"; the error message begins with it.

    Raises:
        ExtraMissingError: one of the extra's modules is missing.
    """
    for module in MODULES[extra]:
        if not _is_there(module):
            raise ExtraMissingError(sentence(extra, purpose), name=module)


def explained(error: ImportError) -> str | None:
    """Return the message that says which extra a failed import needs, or None if no extra has the module."""
    if isinstance(error, ExtraMissingError):
        return str(error)
    top = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if top in modules:
            return sentence(extra, "this")
    return None


def sentence(extra: str, purpose: str) -> str:
    """Return the sentence that says what needs the extra, and how to install it."""
    how = command(extra)
    if os.environ.get(IMAGE):
        # In a container image nothing can be installed: the image has no pip, and its user cannot write to it.
        how = f"build the image with it (--build-arg EXTRAS=aws,live,{extra})"
    return f"{purpose} needs the extra {extra!r}, which is not installed: {how}"


def command(extra: str) -> str:
    """Return a shell command that adds the extra to this installation."""
    return f"{installer()} {shlex.join(_from_source(extra) or _packages(extra))}"


def installer() -> str:
    """Return the start of a shell command that installs packages into loadgen's environment, such as `pip install`."""
    return shlex.join(_installer())


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _installer() -> list[str]:
    """Return the start of a command that installs into this process's environment."""
    python = sys.executable
    if Path(python).is_relative_to(Path.cwd()):
        python = os.path.relpath(python)
    if not _is_there("pip"):
        return ["uv", "pip", "install", "--python", python]
    found = shutil.which("pip")
    # In an activated environment, plain `pip` is the pip beside this Python.
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return ["pip", "install"]
    return [python, "-m", "pip", "install"]


def _from_source(extra: str) -> list[str] | None:
    """Return pip's arguments to install the extra from the folder, wheel or repository that loadgen came from.

    Returns None if loadgen came from a package index, if the folder or wheel no longer exists, or if the repository's
    URL may contain a password.
    """
    said = _direct_url()
    url = said.get("url")
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    vcs = said.get("vcs_info")
    if isinstance(vcs, dict):
        at = f"@{vcs['commit_id']}" if isinstance(vcs.get("commit_id"), str) else ""
        # Do not show a URL that may contain a password or token.
        plain = (
            parts.scheme in ("https", "ssh", "git", "file") and ":" not in parts.netloc and not parts.query
        )
        return [f"{DISTRIBUTION}[{extra}] @ {vcs.get('vcs', 'git')}+{url}{at}"] if plain else None
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or not path.exists():
        return None
    place = "." if path == Path.cwd() else str(path)
    folder = said.get("dir_info")
    editable = ["-e"] if isinstance(folder, dict) and folder.get("editable") else []
    return [*editable, f"{place}[{extra}]"]


def _direct_url() -> dict[str, Any]:
    """Return the content of direct_url.json (PEP 610); empty if it cannot be read or loadgen came from an index."""
    try:
        said = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _packages(extra: str) -> list[str]:
    """Return an extra's packages with version bounds, or its module names if loadgen's package metadata is missing."""
    return list(requirements(extra)) or list(MODULES[extra])


def requirements(extra: str) -> Iterator[str]:
    """Yield the requirements of an extra, such as `scipy>=1.14`, from the installed metadata."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    for line in declared:
        match = _OF_EXTRA.search(line)
        if match is not None and match["extra"] == extra:
            yield line.partition(";")[0].strip()
