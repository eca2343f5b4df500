"""A pytest plugin for `sanitized.py`, which loads the sanitized library instead of the installed one."""

import importlib.util
import os
import sys

_NAME = "loadgen.native._native"


def _load() -> None:
    library = os.environ["LOADGEN_NATIVE_LIBRARY"]
    assert _NAME not in sys.modules, "the installed library was imported first"
    spec = importlib.util.spec_from_file_location(_NAME, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_NAME] = module
    from loadgen import native

    assert native.available
    assert module.__file__ == library
    assert native.Poller is module.Poller


_load()
