"""The stamp that every published event carries, and that every delivery is measured by.

An event is a JSON object whose member ``_lg`` is ``[token, publisher, sequence, intended_ns, sent_ns]``: the run's
31-bit token, the publisher's global number, the event's number among its publisher's, when the open-loop schedule
said it was due, and when it was handed to the socket. Other members are payload.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

STAMP_KEY = "_lg"

#: A stamp as it is decoded: token, publisher, sequence, intended_ns, sent_ns.
Stamp = tuple[int, int, int, int, int]


class StampedEvent(msgspec.Struct, gc=False):
    """An event as far as the harness reads it; the payload is skipped, not built."""

    stamp: tuple[int, int, int, int, int] = msgspec.field(name=STAMP_KEY)


#: Decodes an event's JSON text; raises msgspec.DecodeError where the text is no JSON and msgspec.ValidationError
#: (a subclass) where it is JSON without a stamp.
decode_event: Callable[[str | bytes], StampedEvent] = msgspec.json.Decoder(StampedEvent).decode

_PADDING = "x" * 262_144
_EMPTY_PAD = len(',"pad":""}')


def encode_event(
    token: int,
    publisher: int,
    sequence: int,
    intended_ns: int,
    sent_ns: int,
    size_bytes: int,
    payload: Mapping[str, Any] | None = None,
) -> str:
    """Return the event's JSON text, padded to ``size_bytes`` where stamp and payload leave room for it.

    An event whose stamp and payload are longer than ``size_bytes`` keeps its natural length.
    """
    head = f'{{"{STAMP_KEY}":[{token},{publisher},{sequence},{intended_ns},{sent_ns}]'
    if payload:
        body = msgspec.json.encode(payload).decode()
        head = f"{head},{body[1:-1]}"
    # The size is of the encoded text; only a payload can hold characters longer than one byte.
    natural = len(head.encode()) if payload else len(head)
    room = size_bytes - natural - _EMPTY_PAD
    if room < 0:
        return head + "}"
    return f'{head},"pad":"{_PADDING[:room]}"}}'


def encode_batch(
    token: int,
    publisher: int,
    sequence: int,
    intended_ns: int,
    sent_ns: int,
    size_bytes: int,
    payloads: Sequence[Mapping[str, Any] | None],
) -> list[str]:
    """Return the texts of events with numbers from ``sequence`` on, one a payload; each as of :func:`encode_event`."""
    if any(payloads):
        return [
            encode_event(token, publisher, sequence + k, intended_ns, sent_ns, size_bytes, payload)
            for k, payload in enumerate(payloads)
        ]
    # All but the number is the same for the whole batch.
    before = f'{{"{STAMP_KEY}":[{token},{publisher},'
    after = f",{intended_ns},{sent_ns}]"
    free = size_bytes - len(before) - len(after) - _EMPTY_PAD
    events = []
    for number in range(sequence, sequence + len(payloads)):
        digits = str(number)
        room = free - len(digits)
        tail = f',"pad":"{_PADDING[:room]}"}}' if room >= 0 else "}"
        events.append(f"{before}{digits}{after}{tail}")
    return events
