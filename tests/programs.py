"""Programs that tests need beyond pip's packages: without one, a test is skipped with the installing command.

In CI (CI=true), where `.ci/run` installs them, it fails instead. `tests/conftest.py` says at the end of a test run what
was skipped for want of what.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES = {
    "chromium": "chromium",
    "git": "git",
    "ip": "iproute2",
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "nats-server": "nats-server",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "tinyproxy": "tinyproxy",
}
"""Debian's package of each program."""
ELSEWHERE = {"chromium": ("chromium-browser",)}
"""Other names of the same program."""

_REASON = re.compile(r"(?:Skipped: )?(.+) is not installed: apt-get install (.+)")


def find(program: str) -> str | None:
    """Return the program's path; None: it is not installed. Services are looked for in /usr/sbin too."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    names = (program, *ELSEWHERE.get(program, ()))
    return next((found for name in names if (found := shutil.which(name, path=path)) is not None), None)


def require(program: str) -> str:
    """Return the path of one of `PACKAGES`; without it the test is skipped, or fails in CI."""
    return find(program) or _go_without(program, PACKAGES[program])


def require_file(path: Path, what: str, package: str) -> Path:
    """Return a path that a Debian package brings, a server's module say; without it as `require`."""
    return path if path.exists() else Path(_go_without(what, package))


def skip(reason: str) -> NoReturn:
    """Skip the test, or let it fail in CI, which must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


def wanting(reasons: Iterable[str]) -> str | None:
    """Return in one line how many tests were skipped for want of which programs, and what brings them."""
    found = [match for reason in reasons if (match := _REASON.fullmatch(reason))]
    if not found:
        return None
    programs = ", ".join(sorted({match[1] for match in found}))
    packages = " ".join(sorted({package for match in found for package in match[2].split()}))
    tests = "1 test was" if len(found) == 1 else f"{len(found)} tests were"
    return f"{tests} skipped for want of {programs}: apt-get install {packages}"


def _go_without(what: str, package: str) -> NoReturn:
    skip(f"{what} is not installed: apt-get install {package}")
