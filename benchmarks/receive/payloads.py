"""The events that receivers are measured with: JSON like an application's, or the load generator's padding."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_ITEM: Final = {
    "sku": "A-00217",
    "label": 'Grün, 3" wide',
    "price": 129.5,
    "tags": ["new", "b2b"],
    "gift": False,
    "note": None,
}
_SMALL: Final = {"user": {"id": 48213, "name": "Zoë"}, "tags": ["a", "b"], "price": 19.99, "ok": True}
_TEXT: Final = "the quick brown fox jumps over the lazy dog "


@dataclass(frozen=True)
class Payload:
    """A kind of event: its name in tables, and the bytes of a whole frame, header included."""

    name: str
    frame_bytes: int
    own_padding: bool = False

    def members(self, room: int, *, in_string: bool = True) -> bytes:
        """Return the JSON members of an event that follow the stamp, in exactly ``room`` bytes.

        If ``in_string``, the frame contains the event as a JSON string, so the members are escaped.

        Raises:
            ValueError: the room is too small.
        """
        written = _escaped if in_string else _plain
        if self.own_padding:
            return _filled({}, "pad", "x", room, written)
        content: dict[str, Any] = dict(_SMALL)
        if room > 1_000:
            items: list[dict[str, Any]] = []
            content["items"] = items
            while len(written({**content, "items": [*items, _ITEM], "text": ""})) <= room:
                items.append({**_ITEM, "qty": len(items)})
        return _filled(content, "text", _TEXT, room, written)


def _plain(members: dict[str, Any]) -> bytes:
    """Return members as JSON text, with a comma before them."""
    return ("," + json.dumps(members, separators=(",", ":"), ensure_ascii=False)[1:-1]).encode()


def _escaped(members: dict[str, Any]) -> bytes:
    """Return members as JSON text, escaped as the content of a JSON string, with a comma before them."""
    text = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    return ("," + json.dumps(text, ensure_ascii=False)[2:-2]).encode()


def _filled(
    members: dict[str, Any], name: str, filling: str, room: int, written: Callable[[dict[str, Any]], bytes]
) -> bytes:
    missing = room - len(written({**members, name: ""}))
    if missing < 0:
        raise ValueError(f"the members need {-missing} bytes more than the frame has")
    return written({**members, name: (filling * (missing // len(filling) + 1))[:missing]})


PADDING: Final = Payload("own padding", 251, own_padding=True)
REAL: Final = Payload("real payload", 251)
REAL_2KB: Final = Payload("real payload, 2 KB", 2048)
PAYLOADS: Final = (PADDING, REAL, REAL_2KB)
