"""What is left out and asked once while Locust is loaded."""

import importlib.metadata

import pytest

from loadgen.run import start_locust


def test_packages_are_read_once_and_what_they_have_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.metadata.entry_points
    reads = []

    def counted(**wanted: str) -> object:
        reads.append(wanted)
        return whole(**wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    groups = ("console_scripts", "pytest11", "gevent.plugins.monkey.did_patch_all")
    with start_locust._packages_read_once():
        found = {group: sorted(importlib.metadata.entry_points(group=group)) for group in groups}
        (one,) = importlib.metadata.entry_points(group="console_scripts", name="pytest")
    assert reads == [{}]
    assert importlib.metadata.entry_points is counted
    assert found == {group: sorted(whole(group=group)) for group in groups}
    assert len(found["console_scripts"]) > 1
    assert one.name == "pytest"
