"""The types of the entries in the table of a run's options (`loadgen.run.options`)."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any


class Panel(Enum):
    """The groups under which `loadgen run --help` lists the options, in this order."""

    SCENARIO = "Scenario"
    TARGET = "Target"
    LOGIN = "Login"
    PERMISSIONS = "Permissions (only from the command line)"
    OUTPUT = "Output"
    WORKERS = "Workers"
    LIVE = "Live displays"
    COST = "Cost"


class Progress(StrEnum):
    """How a run shows its progress."""

    AUTO = "auto"
    PLAIN = "plain"
    NONE = "none"


class AbortOn(StrEnum):
    """A reason to end a run early (`--abort-on`), in addition to the run's gates."""

    INVALID = "invalid"
    RATE = "rate"


class Reader(Enum):
    """The process that reads an option."""

    PARENT = "parent"
    """The process of `loadgen run`. It turns the option into options of Locust if necessary (`loadgen.cli.launch`)."""
    MASTER = "master"
    """The Locust process that conducts the run. The harness adds the option to Locust's, and so passes it on."""
    WORKER = "worker"
    """A worker on another machine. The harness adds the option to Locust's, so the worker's user can give it there."""
    BOTH = "both"
    """Master and worker. A worker's permissions must come from the worker's own user, never from the master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Everything about an option except its name, type and default, which are those of the field of `RunOptions`."""

    help: str
    panel: Panel
    reader: Reader = Reader.MASTER
    metavar: str | None = None
    flag: str | None = None
    """The option's name on the command line, or None if it is made from the field's name."""
    argument: bool = False
    """True if `loadgen run` takes the value as an argument without a flag. On Locust's command line it has a flag."""
    negatable: bool = False
    """True if `loadgen run` also has the opposite option, `--no-…`."""
    minimum: float | None = None
    maximum: float | None = None
    variables: tuple[str, ...] = ()
    """Environment variables that are read if the option is not given."""
    locust_flag: str | None = None
    """The option's name on Locust's command line, if it differs from that of `loadgen run`."""
    locust_opposite: bool = False
    """True if the option on Locust's command line has the opposite meaning."""
    locust_help: str | None = None
    """The option's help on Locust's command line, if it differs from `help`."""
    locust_default: Any = None
    """The option's default on Locust's command line, if the field's default is None."""

    @property
    def permission(self) -> bool:
        """True if the option must be on the command line: Locust's configuration files and variables cannot set it."""
        return self.panel is Panel.PERMISSIONS
