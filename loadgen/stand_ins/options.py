"""Check the options of a stand-in, which the command line gives as `--option NAME=VALUE`."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

#: Type of an option's value if the option must be one of several words, usually a Literal.
_Word = TypeVar("_Word", bound=str)


class OptionError(ValueError):
    """An option of a stand-in is unknown or out of range; the message is one sentence."""


class Options:
    """Reads options by name; :meth:`finish` refuses options that were given but never read."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)
        self._known: list[str] = []

    def text(self, name: str) -> str | None:
        """Return the value of an option, or None if it is not given."""
        self._known.append(name)
        return self._given.get(name)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return the value of an option as a number.

        Raises:
            OptionError: the value is no number, or is out of range.
        """
        written = self.text(name)
        if written is None:
            return default
        try:
            value = float(written)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise OptionError(
                f"--option {name}={_shown(written)} is out of range: it may be {least:g} to {most:g}"
            )
        return value

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number; raises OptionError as `number` does."""
        value = self.number(name, default, least, most)
        if value != int(value):
            raise OptionError(f"--option {name}={_shown(self._given[name])} is not a whole number")
        return int(value)

    def word(self, name: str, default: _Word, words: Sequence[_Word]) -> _Word:
        """Return the value of an option that must be one of ``words``.

        Raises:
            OptionError: the value is not one of ``words``.
        """
        written = self.text(name)
        if written is None:
            return default
        for word in words:
            if word == written:
                return word
        raise OptionError(f"--option {name}={_shown(written)} is unknown: it may be {' or '.join(words)}")

    def finish(self) -> None:
        """Refuse options with unknown names; call this after all known options were read.

        Raises:
            OptionError: an option is unknown.
        """
        unknown = [name for name in self._given if name not in self._known]
        if unknown:
            raise OptionError(
                f"--option {_shown(unknown[0])} is unknown: this service has {', '.join(sorted(self._known))}"
            )


def _shown(text: str) -> str:
    return ascii(text[:50])[1:-1]
