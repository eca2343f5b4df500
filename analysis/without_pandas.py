"""Keep pyarrow from importing pandas until the program imports pandas itself.

On its first conversion pyarrow imports pandas, if installed, to recognise a Series. That costs about 0.3 s of CPU time
in a process that uses no Series.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "pandas"


def spare() -> None:
    """Hide pandas from pyarrow until this process imports pandas; from then on pyarrow uses it as usual."""
    if _NAME in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    import pyarrow as pa

    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        # The first conversion makes pyarrow look for pandas; later it looks only if a caller asks for pandas.
        pa.array([0])
    finally:
        finder.hides = False


class _Finder:
    """A meta path finder that hides pandas while `hides` is True.

    When pandas is imported later, it makes pyarrow look for pandas again.
    """

    hides = True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Handle the import of pandas only; other modules are left to the other finders.

        See `importlib.abc.MetaPathFinder`.

        Raises:
            ModuleNotFoundError: pandas is hidden.
        """
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
    """A loader that delegates to the real one and then makes pyarrow look for pandas again."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that the real loader creates; see `importlib.abc.Loader`."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Load the module with the real loader, and put that loader into the spec to read the package's data files."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        import pyarrow as pa

        # Make pyarrow look for pandas. It raises ImportError if pandas is too old for it.
        with suppress(ImportError):
            pa.table({}).to_pandas()
