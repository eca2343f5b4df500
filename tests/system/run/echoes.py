"""Common assertions on runs with an echo lane."""

from typing import Any


def check_echoes(entry: dict[str, Any], sent: int, via: str) -> None:
    """Demand that a worker's entry in the manifest says that all its echoes came back, and nothing else did."""
    told = entry["echo"]
    assert (told["sent"], told["returned"], told["unexpected"], told["via"]) == (sent, sent, 0, via)
    assert (told["errors"], told["note"]) == ({}, None)
    assert entry["foreign"] == entry["unknown_subscription"] == 0
    assert entry["deviations"] == {}
