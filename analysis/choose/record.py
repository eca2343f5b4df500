"""The file `choice.json`: the services tried, with each one's runs, cost, and parts of the scenario it cannot run."""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from analysis.loading.run import ReadError
from analysis.record import files

NAME: Final = "choice.json"
FORMAT: Final = 1

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Label = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,49}$")]


class Made(msgspec.Struct, frozen=True):
    """A run against a service."""

    folder: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,49}/[0-9]{1,4}$")]
    """The run's folder, relative to the folder of `choice.json`."""
    exit_code: int


class Amount(msgspec.Struct, frozen=True):
    """An amount in US dollars, from ``min`` to ``max``.

    ``max`` is None if there is no known upper bound; both are None if the amount is unknown.
    """

    min: float | None
    max: float | None


class Bill(msgspec.Struct, frozen=True):
    """The cost of a period."""

    usd: Amount
    sure: bool = True
    """True if every price behind the amount is certain."""


class Use(msgspec.Struct, frozen=True):
    """The use of a quota; ``share`` is the used part of the quota, from 0 to 1, or None if unknown."""

    name: _Text
    share: float | None


class Cost(msgspec.Struct, frozen=True):
    """The scenario's cost under one billing offer, as `loadgen plan --services` computes it."""

    offer: _Text
    run: Bill | None
    """The cost of one run, or None if unknown."""
    hour: Bill
    month: Bill
    binds_first: Use | None
    """The quota with the largest used share, or None if no quota is known."""


class Tried(msgspec.Struct, frozen=True):
    """A service on which the scenario was run, or should have run."""

    label: _Label
    title: _Text
    command: _Text
    """The command that repeats a run on this service."""
    runs: tuple[Made, ...] = ()
    stands_for: _Text | None = None
    """The program that replaced the service on this machine, or None if the runs used the service itself."""
    problem: _Text | None = None
    """Why the scenario could not run on the service, or None if it ran."""
    limits: tuple[_Text, ...] = ()
    """The parts of the scenario that the service cannot do, or does differently, one sentence each."""
    costs: tuple[Cost, ...] = ()
    """The scenario's cost and use of quotas under each billing offer; empty if the service has no price."""
    unpriced: _Text | None = None
    """Why `costs` is empty."""


class Choice(msgspec.Struct, frozen=True):
    """The services on which one scenario was run, or should have run."""

    scenario: _Text
    created_ns: int
    services: tuple[Tried, ...]
    month: _Text = ""
    """The assumption behind a month's cost, such as `8 hours a day on 30 days`."""
    format: int = FORMAT


def write(folder: Path, choice: Choice) -> None:
    """Write `choice.json` into a folder.

    Raises:
        OSError: the file cannot be written.
    """
    files.output(folder / NAME, msgspec.json.format(msgspec.json.encode(choice), indent=1).decode() + "\n")


def read(folder: Path) -> Choice:
    """Read `choice.json` from a folder, and check its types, because the file may come from someone else.

    Raises:
        ReadError: the file does not exist, or its content is not usable.
    """
    path = folder / NAME
    try:
        choice = msgspec.json.decode(path.read_bytes(), type=Choice)
    except FileNotFoundError:
        raise ReadError(f"{folder} has no {NAME}: it is not a folder of `loadgen choose`") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ReadError(f"{path} is not a record of `loadgen choose`: {str(error)[:200]}") from None
    if choice.format != FORMAT:
        raise ReadError(f"{path} has format {choice.format}, this version reads {FORMAT}")
    return choice
