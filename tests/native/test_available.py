"""Test that the native path is used if it was built and is not switched off."""

import importlib.util
import os

from loadgen import native


def test_it_is_available_where_it_was_built_and_not_turned_off() -> None:
    built = importlib.util.find_spec("loadgen.native._native") is not None
    assert native.available == (built and os.environ.get("LOADGEN_NATIVE") != "0")
