"""The options of a `loadgen run` command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Request:
    """Options of `loadgen run`; see `loadgen.cli.app.run` for their meaning."""

    scenario: str | None
    target: str | None
    api_key_env: str | None
    auth: str | None
    results: Path
    overrides: list[str]
    processes: int
    master: bool
    expect_workers: int
    worker: bool
    master_host: str
    master_port: int
    master_bind_host: str
    web: bool
    web_port: int
    faults: Path | None = None
    journal: Path | None = None
    max_cost: float | None = None
    prices: Path | None = None
    yes: bool = False
    weight: str | None = None
    workers_timeout: float = 600.0
    report: bool = True
    allow_remote: bool = False
    no_proxy: bool = False
    allow_env: list[str] = field(default_factory=list)
    allow_file: list[Path] = field(default_factory=list)
    allow_commands: bool = False
    profile: str | None = None
    region: str | None = None
    cloudwatch: bool = False
    prometheus: str | None = None
    allowed_hosts: Sequence[str] = ()
    otel: bool = False
    join: Path | None = None
