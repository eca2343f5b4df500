"""Starter files for a new user: a scenario or a locustfile, with comments, for a kind and size of load."""

from enum import StrEnum
from pathlib import Path

from loadgen.config.problems import ScenarioError

_STARTERS = Path(__file__).parent / "starters"
#: Number of people in a chat room of the starter scenario.
_IN_A_ROOM = 20


class Kind(StrEnum):
    """A typical pattern of load; a starter scenario exists for each."""

    BROADCAST = "broadcast"
    """One backend publishes, and all clients read."""
    ROOMS = "rooms"
    """People in rooms of 20 read and write."""
    FEEDS = "feeds"
    """Each client reads a channel of its own."""


def starter(file: Path, kind: Kind, clients: int, rate: int) -> str:
    """Return the text of a starter file: a locustfile if the name ends in `.py`, otherwise a scenario.

    ``rate`` is the number of events per second that all clients together publish.
    """
    # Imported late: only this function needs it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Escaping is not needed: the values are numbers and a file name that the caller has checked, and the output is not
    # HTML.
    templates = Environment(  # noqa: S701
        loader=FileSystemLoader(_STARTERS), undefined=StrictUndefined, keep_trailing_newline=True
    )
    name = "users.py.jinja" if file.suffix == ".py" else f"{kind}.yaml.jinja"
    return templates.get_template(name).render(
        name=file.stem,
        file=file.name,
        clients=clients,
        rate=rate,
        # With this ramp, all clients are connected after about five seconds.
        ramp=max(1, clients // 5),
        rooms=max(1, clients // _IN_A_ROOM),
    )


def write(file: Path, content: str) -> None:
    """Write a new file.

    Raises:
        ScenarioError: the file exists already, or cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(content)
    except FileExistsError:
        raise ScenarioError([f"{file}: this file exists; choose another name"]) from None
    except OSError as error:
        raise ScenarioError([f"{file} cannot be written: {error.strerror or error}"]) from None
