"""Assertions on runs in which workers publish events to themselves (echoes), used by several tests."""

from typing import Any


def check_echoes(entry: dict[str, Any], sent: int, via: str) -> None:
    """Assert by a worker's manifest entry that all its echoes came back, and that nothing unexpected arrived."""
    told = entry["echo"]
    assert (told["sent"], told["returned"], told["unexpected"], told["via"]) == (sent, sent, 0, via)
    assert (told["errors"], told["note"]) == ({}, None)
    assert entry["foreign"] == entry["unknown_subscription"] == 0
    assert entry["deviations"] == {}
