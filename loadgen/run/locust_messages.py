"""Shapes and size limits of Locust's own messages between master and workers.

Locust does not validate them: a heartbeat that lacks a key ends the greenlet that listens, and any peer may send
messages in the name of any worker. The messages are checked and cut here, then passed to Locust in the form that it
expects. Some kinds are rejected altogether: a master sends no locustfile, and no message can change a worker's user
classes or its own options.
"""

from collections.abc import Container
from typing import Annotated, Any, Final, Literal, TypedDict

import msgpack
import msgspec
from locust.rpc.protocol import decode as locust_decode
from msgspec import UNSET, Meta, Struct, UnsetType

from loadgen.run.messages import Count, Name, Whole

MOST_ERROR: Final = 1_000
_MOST_TRACEBACK: Final = 20_000
_MOST_LINES: Final = 1_000
_MOST_ENTRIES: Final = 2_000

_Users = Annotated[dict[Name, Count], Meta(max_length=1_000)]
_Number = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
_Seconds = Annotated[dict[Whole, Count], Meta(max_length=10_000)]
_Line = Annotated[str, Meta(max_length=4 * MOST_ERROR)]


class _Entry(Struct):
    """A row of Locust's statistics (its `StatsEntryDict`)."""

    name: _Line
    method: Name
    last_request_timestamp: float | UnsetType | None = UNSET
    start_time: float | UnsetType = UNSET
    num_requests: Count | UnsetType = UNSET
    num_none_requests: Count | UnsetType = UNSET
    num_failures: Count | UnsetType = UNSET
    total_response_time: _Number | UnsetType = UNSET
    max_response_time: _Number | UnsetType = UNSET
    min_response_time: _Number | UnsetType | None = UNSET
    total_content_length: Count | UnsetType = UNSET
    response_times: Annotated[dict[int | float, Count], Meta(max_length=50_000)] | UnsetType = UNSET
    num_reqs_per_sec: _Seconds | UnsetType = UNSET
    num_fail_per_sec: _Seconds | UnsetType = UNSET


class _Error(Struct):
    name: _Line
    method: Name
    error: _Line
    occurrences: Count
    first_seen: float | None = None
    last_seen: float | None = None


class _Stats(Struct):
    stats: Annotated[list[_Entry], Meta(max_length=_MOST_ENTRIES)]
    stats_total: _Entry
    errors: Annotated[dict[Name, _Error], Meta(max_length=_MOST_ENTRIES)]
    user_classes_count: _Users
    user_count: Count


class _Heartbeat(Struct):
    state: Literal["ready", "spawning", "running", "cleanup", "stopping", "stopped"]
    current_cpu_usage: _Number
    current_memory_usage: Count = 0


class _Spawned(Struct):
    user_classes_count: _Users
    user_count: Count


class _Exception(Struct):
    msg: _Line
    traceback: Annotated[str, Meta(max_length=_MOST_TRACEBACK)]


class _Logs(Struct):
    logs: Annotated[list[_Line], Meta(max_length=_MOST_LINES)]


_FROM_WORKER: Final[dict[str, Any]] = {
    # The message's data are Locust's version as a text (only Locust's own tests send the number -1 instead).
    "client_ready": Name,
    "client_stopped": None,
    "heartbeat": _Heartbeat,
    "stats": _Stats,
    "spawning": None,
    "spawning_complete": _Spawned,
    "logs": _Logs,
    "quit": None,
    "exception": _Exception,
}


class _Ack(TypedDict, total=False):
    index: Count


class _Spawn(TypedDict):
    timestamp: float
    user_classes_count: _Users
    host: _Line | None
    stop_timeout: Annotated[float, Meta(ge=0, le=86_400)] | None
    parsed_options: Annotated[dict[Name, Any], Meta(max_length=1_000)]


class _Complete(TypedDict):
    user_count: Count


_FROM_MASTER: Final[dict[str, Any]] = {
    "ack": _Ack | None,
    "spawn": _Spawn,
    "stop": None,
    "quit": None,
    "reconnect": None,
    "heartbeat": None,
    "spawning_complete": _Complete,
}
_decoders_from_worker: Final = {kind: msgspec.msgpack.Decoder(of) for kind, of in _FROM_WORKER.items()}
_decoders_from_master: Final = {kind: msgspec.msgpack.Decoder(of) for kind, of in _FROM_MASTER.items()}


def from_worker(kind: str, raw: msgspec.Raw, custom: Container[str] = ()) -> Any:
    """Return the checked data of a worker's message of type ``kind``.

    ``custom`` are the kinds that the user's code has registered with Locust; these may have any value.

    Raises:
        ValueError: the kind is not allowed, or the data is invalid.
        RecursionError: the data is nested too deeply.
    """
    decoder = _decoders_from_worker.get(kind)
    if decoder is not None:
        return msgspec.to_builtins(decoder.decode(raw))
    if kind in custom:
        return _any(raw)
    raise ValueError("no master takes this kind of message from a worker")


def from_master(kind: str, raw: msgspec.Raw, custom: Container[str] = ()) -> Any:
    """Return the checked data of a master's message, as :func:`from_worker` does for a worker's."""
    decoder = _decoders_from_master.get(kind)
    if decoder is not None:
        return decoder.decode(raw)
    if kind in custom:
        return _any(raw)
    raise ValueError("no worker takes this kind of message from a master")


def _any(raw: msgspec.Raw) -> Any:
    """Return any value, with times decoded as Locust encodes them; raises ValueError if that is impossible."""
    try:
        return msgpack.loads(bytes(raw), raw=False, strict_map_key=False, object_hook=locust_decode)
    except Exception as error:
        raise ValueError(f"it cannot be read: {error or type(error).__name__}") from None


def cut(kind: str, data: Any) -> Any:
    """Return a worker's message data, with texts and lists cut to the sizes that a master accepts."""
    if kind == "exception":
        return {"msg": _short(data["msg"]), "traceback": data["traceback"][-_MOST_TRACEBACK:]}
    if kind == "logs":
        return {**data, "logs": [_short(line) for line in data["logs"][-_MOST_LINES:]]}
    if kind == "stats":
        errors = sorted(data["errors"].items(), key=lambda each: -each[1]["occurrences"])[:_MOST_ENTRIES]
        return {
            **data,
            "stats": [_named(entry) for entry in data["stats"][:_MOST_ENTRIES]],
            "errors": {key: {**_named(error), "error": _short(error["error"])} for key, error in errors},
        }
    return data


def _named(entry: Any) -> Any:
    return {**entry, "name": _short(entry["name"]), "method": str(entry["method"])[:300]}


def _short(text: Any) -> str:
    return str(text)[:MOST_ERROR]
