"""Start Locust for `loadgen run`, with the options of its command line and no others.

Plain Locust also reads `locust.conf`, `~/.locust.conf`, `[tool.locust]` of a `pyproject.toml`, and environment
variables that begin with LOCUST_. With one of these files in a downloaded folder, its author could choose the target
and the secrets of `loadgen run`.
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

#: Modules of Locust that are left out: its web UI (Flask, Jinja) and the HTTP clients of other user classes.
_NOT_NEEDED = ("locust.web", "locust.html", "locust.clients", "locust.contrib.fasthttp")
#: Libraries that only the modules in `_NOT_NEEDED` use.
_LIBRARIES = ("requests", "requests.exceptions", "urllib3")


def start() -> None:
    """Run `locust` with the arguments in `sys.argv` and exit the process."""
    sys.exit(prepared().main())


def prepared() -> Any:
    """Return Locust's `main` module, loaded as `sys.argv` requires and set to read options only from `sys.argv`."""
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        # Delete these variables before importing Locust, which reads some of them on import.
        del os.environ[name]
    web = not ("--headless" in sys.argv or "--worker" in sys.argv)
    with (
        garbage.loading(),
        _packages_read_once(),
        nullcontext() if web else _without(_NOT_NEEDED, _LIBRARIES),
    ):
        from locust import argument_parser, main, runners

    # Replace `inspect`: Locust uses it only for a debug log line, for which it would read the source of each stack
    # frame.
    runners.inspect = None  # type: ignore[attr-defined, assignment]
    argument_parser.LocustArgumentParser.parse_known_args = _parse_known_args
    main.load_locustfile = _load  # type: ignore[attr-defined]
    return main


@contextmanager
def _packages_read_once() -> Iterator[None]:
    """Read the entry points of the installed packages only once.

    gevent asks for them 25 times while it patches Python, and each time Python reads the metadata of every package:
    0.14 s of CPU time with 180 packages.
    """
    ask = importlib.metadata.entry_points
    found = cache(ask)
    importlib.metadata.entry_points = lambda **wanted: found().select(**wanted)  # type: ignore[assignment]
    try:
        yield
    finally:
        importlib.metadata.entry_points = ask


class _LeftOut(ModuleType):
    """Placeholder for a module whose names are imported but never used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def used(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"{self.__name__}.{name} was left out of this process, which needs none")

        return used


@contextmanager
def _without(modules: Sequence[str], libraries: Sequence[str]) -> Iterator[None]:
    """Replace some of Locust's ``modules`` by placeholders while Locust is imported. This saves 0.15 s of CPU time.

    The ``libraries`` that only these modules use are replaced too, but can be imported afterwards. Locust's plugins are
    not imported, because they might use placeholders.
    """
    libraries = [name for name in libraries if name not in sys.modules]
    for name in (*modules, *libraries):
        sys.modules.setdefault(name, _LeftOut(name))
    # Keep Locust from patching urllib3, which is only a placeholder here.
    os.environ["LOCUST_SKIP_URLLIB3_PATCH"] = "1"
    sys.modules.setdefault("locust_plugins", ModuleType("locust_plugins"))
    try:
        yield
    finally:
        del os.environ["LOCUST_SKIP_URLLIB3_PATCH"]
        for name in libraries:
            del sys.modules[name]


def _parse_known_args(self: Any, args: Any = None, namespace: Any = None, **_: Any) -> Any:
    """Parse the command line as `configargparse` does, but with an empty configuration file and environment."""
    import configargparse

    return configargparse.ArgumentParser.parse_known_args(
        self, args, namespace, config_file_contents="", env_vars={}
    )


def _load(path: str) -> tuple[dict[str, Any], list[Any]]:
    """Load a locustfile of the harness; return its user classes by name and its shapes.

    This replaces a function of Locust that would put the working directory first on `sys.path` and leave it there.
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
