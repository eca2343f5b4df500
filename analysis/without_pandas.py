"""pyarrow without pandas, until somebody wants both.

The first time that pyarrow makes or reads anything it loads pandas, where that is installed, to recognise a Series.
That costs some 0.3 s of CPU time in a process that has none.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "pandas"


def spare() -> None:
    """Have pyarrow do without pandas in this process until pandas is imported; then all is as it would have been."""
    if _NAME in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    import pyarrow as pa

    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        # It looks once, and again where a caller asks for pandas.
        pa.array([0])
    finally:
        finder.hides = False


class _Finder:
    """Hides pandas; later finds it as others do, and has pyarrow know of it as soon as it is loaded."""

    hides = True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for pandas only; see `importlib.abc.MetaPathFinder`."""
        if name != _NAME:
            return None
        if self.hides:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads as the loader that it is given, and then tells pyarrow."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the loader itself makes; see `importlib.abc.Loader`."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, with its own loader for whatever reads the package's files later."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        import pyarrow as pa

        # A pandas too old for pyarrow is none to it.
        with suppress(ImportError):
            pa.table({}).to_pandas()
