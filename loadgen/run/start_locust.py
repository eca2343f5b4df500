"""Locust as our own child: with the options of its command line and no others.

Plain Locust also reads `locust.conf`, `~/.locust.conf`, `[tool.locust]` of a `pyproject.toml`, and environment
variables that begin with LOCUST_. Whoever wrote one of these files, perhaps in a folder that was only unpacked, would
choose where `loadgen run` sends its load, and with which secrets.
"""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from loadgen import garbage
from loadgen.run.locust_settings import VARIABLES

#: Of Locust: its web UI (Flask, Jinja), and the HTTP clients of users that are not ours.
_NOT_NEEDED = ("locust.web", "locust.html", "locust.clients", "locust.contrib.fasthttp")
#: What only these would call.
_LIBRARIES = ("requests", "requests.exceptions", "urllib3")


def start() -> None:
    """Run `locust` by `sys.argv`; ends the process."""
    sys.exit(prepared().main())


def prepared() -> Any:
    """Return Locust's `main` module, loaded for `sys.argv` and taking options from there only."""
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        # Some are read while Locust is imported.
        del os.environ[name]
    web = not ("--headless" in sys.argv or "--worker" in sys.argv)
    with (
        garbage.loading(),
        _packages_read_once(),
        nullcontext() if web else _without(_NOT_NEEDED, _LIBRARIES),
    ):
        from locust import argument_parser, main, runners

    # It reads the source of each function on the stack for a line of its debug log; it does without where it cannot.
    runners.inspect = None  # type: ignore[attr-defined, assignment]
    argument_parser.LocustArgumentParser.parse_known_args = _parse_known_args
    main.load_locustfile = _load  # type: ignore[attr-defined]
    return main


@contextmanager
def _packages_read_once() -> Iterator[None]:
    """Read once what plugins the installed packages have.

    gevent asks 25 times while it patches Python, and each time the metadata of every package is read: 0.14 s of CPU
    time with 180 packages.
    """
    ask = importlib.metadata.entry_points
    found = cache(ask)
    importlib.metadata.entry_points = lambda **wanted: found().select(**wanted)  # type: ignore[assignment]
    try:
        yield
    finally:
        importlib.metadata.entry_points = ask


class _LeftOut(ModuleType):
    """In the place of a module whose names are imported but never used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def used(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"{self.__name__}.{name} was left out of this process, which needs none")

        return used


@contextmanager
def _without(modules: Sequence[str], libraries: Sequence[str]) -> Iterator[None]:
    """Load Locust without modules of its own that are not needed, nor the libraries of these: 0.15 s of CPU time.

    The libraries can be imported afterwards. Plugins of Locust are left out too, as they would find these gaps.
    """
    libraries = [name for name in libraries if name not in sys.modules]
    for name in (*modules, *libraries):
        sys.modules.setdefault(name, _LeftOut(name))
    # Else Locust sets the queue of urllib3, which is not there.
    os.environ["LOCUST_SKIP_URLLIB3_PATCH"] = "1"
    sys.modules.setdefault("locust_plugins", ModuleType("locust_plugins"))
    try:
        yield
    finally:
        del os.environ["LOCUST_SKIP_URLLIB3_PATCH"]
        for name in libraries:
            del sys.modules[name]


def _parse_known_args(self: Any, args: Any = None, namespace: Any = None, **_: Any) -> Any:
    """Parse the command line as `configargparse` does, with an empty configuration file and environment."""
    import configargparse

    return configargparse.ArgumentParser.parse_known_args(
        self, args, namespace, config_file_contents="", env_vars={}
    )


def _load(path: str) -> tuple[dict[str, Any], list[Any]]:
    """Load one of our own locustfiles; return its user classes by name and its shapes, as Locust's function does.

    Locust's own would put the working directory first on `sys.path` and leave it there.
    """
    from locust.util.load_locustfile import is_shape_class, is_user_class

    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with garbage.loading():
        spec.loader.exec_module(module)
    found = vars(module)
    users = {key: value for key, value in found.items() if is_user_class(value)}
    return users, [value() for value in found.values() if is_shape_class(value)]
