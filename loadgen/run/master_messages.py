"""Shapes of the master's messages, as a worker accepts them.

Unknown keys are ignored. A master tells its workers which clients to play against which target. A worker accepts no
command to run, no option of its own command line, and no path except that of a folder that it verifies to be shared.
"""

from typing import Annotated, Any, Final, TypedDict

import msgspec
from msgspec import Meta

from loadgen.resolve import ResolvedRun
from loadgen.run import messages
from loadgen.run.worker_messages import Count, Name, Ns, Text

#: A worker's number is a 16-bit integer in the record.
_Number = Annotated[int, Meta(ge=0, lt=1 << 15)]


class _Target(TypedDict):
    url: Text
    login: dict[Name, Any] | None
    api_key: Text | None
    protocol_file: Any


class _Begin(TypedDict):
    run: ResolvedRun
    target: _Target
    token: Annotated[int, Meta(ge=0, lt=1 << 31)]
    folder: Annotated[str, Meta(max_length=4096)]
    worker: _Number
    sockets: Count
    workers: Annotated[int, Meta(ge=1, le=1 << 15)]
    echo_ns: Annotated[int, Meta(gt=0)] | None
    boot_id: Name | None
    live: bool


class _Grant(TypedDict):
    request: Count
    granted: dict[Name, list[Count]]


class _Ramp(TypedDict):
    ramp_ns: Ns


class _Go(TypedDict):
    warmup_ns: Ns
    measure_ns: Ns
    measure_end_ns: Ns
    drain_end_ns: Ns


class _Finish(TypedDict):
    drain_ns: Annotated[int, Meta(ge=0, le=86_400_000_000_000)]


class _SpoolWritten(TypedDict):
    name: Name
    have: Count
    again: bool


class _Pong(TypedDict):
    sent_ns: Ns
    bound_ns: Ns | None
    master_bound_ns: Ns | None
    sent_raw_ns: Ns | None
    master_received_ns: Ns
    master_sent_ns: Ns
    master_raw_ns: Ns | None


class _Reason(TypedDict):
    reason: Text


_TYPES: Final[dict[str, Any]] = {
    messages.GRANT: _Grant,
    messages.RAMP: _Ramp,
    messages.GO: _Go,
    messages.FINISH: _Finish,
    messages.SPOOL_WRITTEN: _SpoolWritten,
    messages.PONG: _Pong,
    messages.REFUSE: _Reason,
    messages.STAND_BY: _Reason,
}
_DECODERS: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(of) for kind, of in _TYPES.items()
}
_plain: Final = msgspec.msgpack.Decoder(dict[str, Any])


def decoded(kind: str, raw: msgspec.Raw) -> messages.Payload | None:
    """Return a message's decoded payload, or None if ``kind`` is not a message of the harness's master.

    Raises:
        ValueError: the payload is invalid (msgspec's errors are subclasses).
        RecursionError: the payload is nested too deeply.
    """
    if kind == messages.BEGIN:
        payload = _plain.decode(raw)
        # Check the known keys but keep the others, which belong to other parts of the harness.
        msgspec.convert(payload, _Begin)
        return payload
    decoder = _DECODERS.get(kind)
    found: messages.Payload | None = None if decoder is None else decoder.decode(raw)
    return found
