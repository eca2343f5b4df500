"""Test that each option that reads a file rejects too large or deep a file, with one sentence and exit code 2."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import protocol_file
from loadgen.config import document
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.option import login_from_option
from loadgen.credentials.sources import from_file
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError
from loadgen.server.api_keys import ConfigError
from loadgen.server.faults import load_faults

READERS: dict[str, Callable[[Path], object]] = {
    "scenario": lambda path: load(str(path)),
    "prices": load_prices,
    "faults": load_faults,
    "login": lambda path: login_from_option(str(path)),
    "protocol": lambda path: protocol_file.protocol_at(f"{path}+ws://127.0.0.1:9"),
}
NESTED: dict[str, Callable[[int], str]] = {
    "flow": lambda depth: "a: " + "[" * depth,
    "closed": lambda depth: "a: " + "[" * depth + "]" * depth,
    "mappings": lambda depth: "a: " + "{b: " * depth,
    "lines": lambda depth: (
        "a:\n" + "".join(f"{' ' * min(number, 200)}[\n" for number in range(1, min(depth, 5_000)))
    ),
    "block": lambda depth: "- " * depth + "x",
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("reader", READERS)
def test_deep_nesting_is_a_sentence(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "deep.yaml"
    for depth in (25, 50_000):
        path.write_text(NESTED[kind](depth))
        with pytest.raises((ScenarioError, ConfigError, CredentialError)) as caught:
            READERS[reader](path)
        assert len(str(caught.value)) < 1_000
        if depth >= 3_000:
            assert "nested too deeply" in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_large_file_is_refused_unread(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises((ScenarioError, ConfigError, CredentialError), match="larger than 1 MB"):
        READERS[reader](path)


def test_a_file_without_an_end_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    path.symlink_to("/dev/zero")
    with pytest.raises(ScenarioError, match="larger than 1 MB"):
        load(str(path))
    with pytest.raises(CredentialError, match=r"is larger than 64 KiB, too large for a token"):
        from_file("/dev/zero")


def test_a_text_of_the_command_line_is_bounded_too() -> None:
    with pytest.raises(ScenarioError, match="larger than 1 MB"):
        document.parse("a" * 1_000_001, "here")


@given(st.text(alphabet="[]{}-:, \n?!&*|>ab1", max_size=300))
@settings(deadline=None, max_examples=50)
def test_whatever_the_text_is_it_is_read_or_refused(text: str) -> None:
    with suppress(ScenarioError):
        document.parse(text * 20, "here")


def test_an_anchor_may_occur_twice_without_a_warning() -> None:
    """YAML 1.2.2, 7.1: an alias refers to the last node with the anchor."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, _ = document.parse("one: &a 1\ntwo: *a\nthree: &a 3\nfour: *a\n", "x.yaml")
    assert data == {"one": 1, "two": 1, "three": 3, "four": 3}
