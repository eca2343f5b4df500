"""The settings that every stand-in server is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one stand-in server."""

    api_key: str = field(repr=False)
    """The API key that clients must present if the service has API keys."""
    journal: Path | None = None
    """The file to which the server writes losses and other faults, one JSON object a line, or None to write nothing."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The service's own options by name, such as `lose-every`; each stand-in checks its own."""
