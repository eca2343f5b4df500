"""Programs that tests need besides pip's packages: a test that lacks one is skipped, with advice.

The advice is the command that installs the program. In CI (CI=true), where `.ci/run` installs all of them,
the test fails instead. At the end of a test run, `tests/conftest.py` prints which programs were missing.
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
"""The Debian package of each program."""
ELSEWHERE = {"chromium": ("chromium-browser",)}
"""Other names of a program."""

_REASON = re.compile(r"(?:Skipped: )?(.+) is not installed: apt-get install (.+)")


def find(program: str) -> str | None:
    """Return the program's path, or None if it is not installed; /usr/sbin is searched too."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    names = (program, *ELSEWHERE.get(program, ()))
    return next((found for name in names if (found := shutil.which(name, path=path)) is not None), None)


def require(program: str) -> str:
    """Return the path of one of `PACKAGES`; if it is missing, skip the test, or fail it in CI."""
    return find(program) or _go_without(program, PACKAGES[program])


def require_file(path: Path, what: str, package: str) -> Path:
    """Return ``path``, such as a server's module, if its Debian package is installed; else skip or fail."""
    return path if path.exists() else Path(_go_without(what, package))


def skip(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where everything must be installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


def wanting(reasons: Iterable[str]) -> str | None:
    """Return a line with the number of skipped tests, the missing programs, and how to install them."""
    found = [match for reason in reasons if (match := _REASON.fullmatch(reason))]
    if not found:
        return None
    programs = ", ".join(sorted({match[1] for match in found}))
    packages = " ".join(sorted({package for match in found for package in match[2].split()}))
    tests = "1 test was" if len(found) == 1 else f"{len(found)} tests were"
    return f"{tests} skipped for want of {programs}: apt-get install {packages}"


def _go_without(what: str, package: str) -> NoReturn:
    skip(f"{what} is not installed: apt-get install {package}")
