"""Add stamps to journeys' events and remove them; no other module of this package knows where stamps are placed."""

from collections.abc import Mapping
from typing import Any

import msgspec

from loadgen.measure.stamp import STAMP_KEY, PayloadError, encode_members
from loadgen.users.open_requests import Cause

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.decode


class Event(dict[str, Any]):
    """A received event without its stamp: the members of its JSON object."""

    def __init__(self, channel: str, text: str, cause: Cause | None = None) -> None:
        """Decode ``text``; raises msgspec.MsgspecError if it is not a JSON object.

        ``channel`` is the subscribed channel or pattern. ``cause`` identifies the delivery; it is recorded with each
        reply to the event.
        """
        super().__init__(_decode(text, type=dict[str, Any]))
        self.pop(STAMP_KEY, None)
        self.channel = channel
        self.text = text
        self.cause = cause


def unstamped(event: object) -> str:
    """Return the JSON members of an event to publish, without braces.

    ``event`` is a mapping or the text of a JSON object.

    Raises:
        ValueError: ``event`` is neither a mapping nor the text of a JSON object, or has a key that the harness itself
            writes.
    """
    if isinstance(event, Mapping):
        try:
            return encode_members(event)
        except PayloadError as error:
            raise ValueError(
                f"an event cannot be published: {str(error).removeprefix('returned ')}"
            ) from None
    if isinstance(event, str):
        try:
            found = _members(event)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            found = None
        if found is not None:
            if STAMP_KEY in found:
                raise ValueError(
                    f"an event cannot be published: a member called {STAMP_KEY!r}, which the harness writes itself"
                )
            return event.strip()[1:-1].strip()
    raise ValueError(
        f"an event must be a dict or the text of a JSON object, as its stamp is a member, not {_named(event)}"
    )


def _named(event: object) -> str:
    return "a text that is none" if isinstance(event, str) else type(event).__name__
