"""Write synthetic run folders row by row, from the description in results/README.md.

The code that reads records is not used, so that mistakes in it do not cancel out.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.record import schemas

SECOND = 1_000_000_000
T0 = 1_795_490_000 * SECOND
US, MS = 1_000, 1_000_000
#: Start of the measure phase, in ns.
ZERO = T0 + SECOND

_INT16, _INT32, _INT64 = pa.int16(), pa.int32(), pa.int64()
_TEXT = pa.dictionary(pa.int32(), pa.string())
TYPES: dict[str, dict[str, pa.DataType]] = {
    "deliveries": {
        "worker": _INT16,
        "subscription": _INT32,
        "publisher": _INT32,
        "sequence": _INT64,
        "intended_ns": _INT64,
        "sent_ns": _INT64,
        "arrival_ns": _INT64,
        "read_ns": _INT64,
    },
    "clock": {
        "worker": _INT16,
        "sent_ns": _INT64,
        "master_received_ns": _INT64,
        "master_sent_ns": _INT64,
        "received_ns": _INT64,
        "sent_raw_ns": _INT64,
        "master_raw_ns": _INT64,
        "received_raw_ns": _INT64,
    },
    "events": {
        "worker": _INT16,
        "publisher": _INT32,
        "sequence": _INT64,
        "batch": _INT64,
        "channel": _TEXT,
        "intended_ns": _INT64,
        "slot_ns": _INT64,
        "sent_ns": _INT64,
        "acked_ns": _INT64,
        "status": _TEXT,
        "error": _TEXT,
        "bytes": _INT32,
    },
    "subscriptions": {
        "worker": _INT16,
        "subscription": _INT32,
        "connection": _INT32,
        "life": _INT16,
        "group": _TEXT,
        "channel": _TEXT,
        "requested_ns": _INT64,
        "acknowledged_ns": _INT64,
        "probed_ns": _INT64,
        "ready_ns": _INT64,
        "ended_ns": _INT64,
        "error": _TEXT,
        "turn": _INT32,
        "intent": _TEXT,
        "refusal": _TEXT,
    },
    "connections": {
        "worker": _INT16,
        "connection": _INT32,
        "life": _INT16,
        "group": _TEXT,
        "started_ns": _INT64,
        "opened_ns": _INT64,
        "acknowledged_ns": _INT64,
        "closed_ns": _INT64,
        "close_code": _INT32,
        "error": _TEXT,
        "kernel_timestamps": pa.bool_(),
        "tls": pa.bool_(),
        "intent": _TEXT,
        "slow": pa.bool_(),
        "silent_since_ns": _INT64,
        "refusal": _TEXT,
    },
    "health": {
        "worker": _INT16,
        "time_ns": _INT64,
        "interval_ns": _INT64,
        "cpu_ns": _INT64,
        "lag_max_ns": _INT64,
        "late_max_ns": _INT64,
        "queue_max_ns": _INT64,
        "deliveries": _INT64,
        "published": _INT64,
        "gc_ns": _INT64,
        "rss_bytes": _INT64,
        "open_files": _INT32,
        "open_files_limit": _INT32,
        "ports": _INT32,
        "ports_limit": _INT32,
        "clock_moved_ns": _INT64,
        "paused_ns": _INT64,
        "paused_until_ns": _INT64,
        "suspended_ns": _INT64,
        "receive_cpu_ns": _INT64,
        **dict.fromkeys(schemas.AROUND, _INT64),
    },
}
ALTERED: dict[str, pa.DataType] = {
    "worker": _INT16,
    "subscription": _INT32,
    "publisher": _INT32,
    "sequence": _INT64,
    "arrival_ns": _INT64,
}
#: Columns that older records lack; a table has them only if one of its rows has.
_LATER: dict[str, dict[str, pa.DataType]] = {
    "events": {
        "connection_wait_ns": _INT64,
        "remote_address": _TEXT,
        "cause_publisher": _INT32,
        "cause_sequence": _INT64,
        "cause_subscription": _INT32,
    },
    "subscriptions": {"replies": _INT32, "shared": _TEXT},
    "connections": {"remote_address": _TEXT, "session": _TEXT},
}
_DEFAULTS: dict[str, Any] = {
    "worker": 0,
    "life": 0,
    "turn": 0,
    "group": "g",
    "kernel_timestamps": True,
    "tls": False,
    "slow": False,
}

Row = dict[str, Any]
Tables = dict[str, Sequence[Mapping[str, Any]]]
"""Rows of each table of a record, by its name."""


@cache
def _empty(name: str) -> bytes:
    """Return the file of a table without rows; most synthetic runs have several of these."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({column: pa.array([], type=t) for column, t in TYPES[name].items()}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_run(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]], **manifest: Any) -> Path:
    """Write a run whose measure phase lasts one second and begins at T0 + 1 s, unless the manifest says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, types in TYPES.items():
        rows = [{**_DEFAULTS, **row} for row in tables.get(name, ())]
        if not rows:
            (folder / f"{name}.parquet").write_bytes(_empty(name))
            continue
        if name == "deliveries" and any("uncertain_ns" in row for row in rows):
            # Records of format 2 lack this column, so it is written only if a row has it.
            types = {**types, "uncertain_ns": _INT64}
            rows = [{"uncertain_ns": 0, **row} for row in rows]
        later = _LATER.get(name, {})
        if any(set(row) & set(later) for row in rows):
            types = {**types, **later}
        columns = {column: pa.array([row.get(column) for row in rows], type=t) for column, t in types.items()}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    if "altered" in tables:
        # Records of format 2 lack this table, so it is written only if it is given.
        rows = [{"worker": 0, **row} for row in tables["altered"]]
        columns = {column: pa.array([row[column] for row in rows], type=t) for column, t in ALTERED.items()}
        pq.write_table(pa.table(columns), folder / "altered.parquet")
    whole = {
        "format": 2,
        "run": folder.name,
        "token": 1,
        "status": "complete",
        "exit_code": 0,
        "reason": None,
        "scenario": {"version": 1, "name": "made-up"},
        "target": {"http_url": "http://x/event", "ws_url": "ws://x/", "embedded": True, "auth": "none"},
        "versions": {"python": "3.11"},
        "host": {"hostname": "h", "cpus": 2, "kernel": "k", "platform": "linux", "machine": "m"},
        "workers": [{"worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": True}],
        "phases": [
            {"name": "ramp", "start_ns": T0, "end_ns": T0 + SECOND},
            {"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 2 * SECOND},
        ],
        "created_ns": T0,
        "negative": {},
        "beyond": {},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(whole))
    return folder


def event(
    publisher: int, sequence: int, channel: str, offset_ns: int, status: str = "accepted", **more: Any
) -> Row:
    """An event due ``offset_ns`` into the measure phase, sent 1 µs later and answered 1 ms later."""
    due_ns = T0 + SECOND + offset_ns
    return {
        "publisher": publisher,
        "sequence": sequence,
        "batch": sequence,
        "channel": channel,
        "intended_ns": due_ns,
        "slot_ns": due_ns,
        "sent_ns": due_ns + 1_000,
        "acked_ns": due_ns + 1_000_000,
        "status": status,
        "bytes": 100,
        **more,
    }


def subscription(
    number: int, channel: str, ready_ns: int | None = 0, ended_ns: int | None = None, **more: Any
) -> Row:
    """Return a row of the subscriptions table; the times given are from the start of the measure phase."""
    zero = T0 + SECOND
    return {
        "subscription": number,
        "connection": number,
        "channel": channel,
        "requested_ns": T0,
        "acknowledged_ns": T0 + 1,
        "ready_ns": None if ready_ns is None else zero + ready_ns,
        "ended_ns": None if ended_ns is None else zero + ended_ns,
        **more,
    }


def connection(number: int, life: int = 0, error: str | None = None, **more: Any) -> Row:
    """Return a row of the connections table: one life of a client's connection. ``error`` says why it was lost."""
    return {
        "connection": number,
        "life": life,
        "started_ns": T0,
        "acknowledged_ns": T0 + 1,
        "error": error,
        "kernel_timestamps": True,
        **more,
    }


def delivery(of: Row, number: int, latency_ns: int = 500_000, **more: Any) -> Row:
    """Return a delivery of an event, which arrives ``latency_ns`` after the event was due and is read 10 µs later."""
    arrival_ns = of["intended_ns"] + latency_ns
    return {
        "subscription": number,
        "publisher": of["publisher"],
        "sequence": of["sequence"],
        "intended_ns": of["intended_ns"],
        "sent_ns": of["sent_ns"],
        "arrival_ns": arrival_ns,
        "read_ns": arrival_ns + 10_000,
        **more,
    }


def pings(worker: int, way_ns: int, ahead_ns: int = 0, count: int = 200) -> list[Row]:
    """Return rows of pings by a worker whose clock is ahead: one every 30 ms, which travels ``way_ns`` each way."""
    return [
        {
            "worker": worker,
            "sent_ns": begin_ns + ahead_ns,
            "master_received_ns": begin_ns + way_ns,
            "master_sent_ns": begin_ns + way_ns,
            "received_ns": begin_ns + 2 * way_ns + ahead_ns,
        }
        for begin_ns in range(T0, T0 + count * 30 * MS, 30 * MS)
    ]


def altered(of: Row) -> Row:
    """Return the row of the table of altered deliveries for a delivery whose content is not what was sent."""
    return {name: of[name] for name in ("subscription", "publisher", "sequence", "arrival_ns")}


def simple_run(folder: Path, **manifest: Any) -> Path:
    """Write a run with three subscribers and ten events, all of which were delivered."""
    events = [event(9, n, "/default/a", n * 50_000_000) for n in range(10)]
    subscriptions = [subscription(n, "/default/*", -1_000_000) for n in range(3)]
    deliveries = [delivery(e, s, 100_000 * (s + 1)) for e in events for s in range(3)]
    connections = [
        {
            "connection": n,
            "started_ns": T0,
            "opened_ns": T0 + 1_000,
            "acknowledged_ns": T0 + 2_000,
            "closed_ns": T0 + 3 * SECOND,
            "close_code": 1000,
        }
        for n in range(3)
    ]
    health = [
        {
            "time_ns": T0 + second * SECOND,
            "interval_ns": SECOND,
            "cpu_ns": SECOND // 4,
            "lag_max_ns": 1_000_000,
            "gc_ns": 0,
            "rss_bytes": 10**8,
            "deliveries": 0,
            "published": 0,
            "open_files": 9,
        }
        for second in (1, 2)
    ]
    tables: Tables = {
        "events": events,
        "subscriptions": subscriptions,
        "deliveries": deliveries,
        "connections": connections,
        "health": health,
    }
    return write_run(folder, tables, **manifest)
