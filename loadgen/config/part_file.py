"""Read a YAML or JSON file that is one mapping into its model."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from loadgen.config import document
from loadgen.config.base import Part
from loadgen.config.messages import problems_in
from loadgen.config.problems import Problem, ScenarioError
from loadgen.config.text import shown

Model = TypeVar("Model", bound=Part)


def read_part(
    path: Path,
    model: type[Model],
    what: str,
    example: str,
    check: Callable[[Model], Iterable[Problem]] | None = None,
) -> Model:
    """Return a file's content as ``model``; an empty file gives the model's defaults.

    ``what`` names the file in messages, such as "the faults file"; ``example`` is an example of valid content.
    ``check`` returns problems that concern several parts of the file.

    Raises:
        ScenarioError: the file cannot be read or is invalid; one line for each problem.
    """
    try:
        text = document.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ScenarioError([f"{what} {shown(str(path))} cannot be read: {why}"]) from None
    data, places = document.parse(text, str(path))
    if data is not None and not isinstance(data, dict):
        raise ScenarioError([f"{path}:1: {what} must be a mapping such as {example}"])
    try:
        read = model.model_validate({} if data is None else data)
    except ValidationError as error:
        raise ScenarioError(places.sentences(problems_in(error, data or {}, model))) from None
    if check is not None and (found := list(check(read))):
        raise ScenarioError(places.sentences(found))
    return read
