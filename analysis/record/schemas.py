"""Columns and types of the tables in a run's record, shared by the code that writes them and the code that reads them.

Changing a column changes the format: add a column that older records lack to `LATER` too, and describe it in
results/README.md.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

import pyarrow as pa

#: Columns of the health table on a worker's surroundings; null in older records and where the system reports nothing.
AROUND: Final = (
    "allowed_ns", "quota_ns", "cgroup", "cgroup_cpu_ns", "quota_periods", "throttled_periods", "throttled_ns",
    "memory_bytes", "memory_limit_bytes", "memory_high_events", "memory_max_events", "oom_events", "oom_kills",
    "pressure_cpu_ns", "pressure_memory_ns", "pressure_io_ns",
    "machine_pressure_cpu_ns", "machine_pressure_memory_ns", "machine_pressure_io_ns",
    "steal_ns", "bw_in_exceeded", "bw_out_exceeded", "pps_exceeded", "conntrack_exceeded", "linklocal_exceeded",
)  # fmt: skip

_TEXT = pa.dictionary(pa.int32(), pa.string())

#: The tables, as documented in results/README.md.
SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "deliveries": pa.schema(
        [
            ("worker", pa.int16()),
            ("subscription", pa.int32()),
            ("publisher", pa.int32()),
            ("sequence", pa.int64()),
            ("intended_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("arrival_ns", pa.int64()),
            ("read_ns", pa.int64()),
            ("uncertain_ns", pa.int64()),
        ]
    ),
    "events": pa.schema(
        [
            ("worker", pa.int16()),
            ("publisher", pa.int32()),
            ("sequence", pa.int64()),
            ("batch", pa.int64()),
            ("channel", _TEXT),
            ("intended_ns", pa.int64()),
            ("slot_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("acked_ns", pa.int64()),
            ("status", _TEXT),
            ("error", _TEXT),
            ("bytes", pa.int32()),
            ("connection_wait_ns", pa.int64()),
            ("remote_address", _TEXT),
            ("cause_publisher", pa.int32()),
            ("cause_sequence", pa.int64()),
            ("cause_subscription", pa.int32()),
        ]
    ),
    "subscriptions": pa.schema(
        [
            ("worker", pa.int16()),
            ("subscription", pa.int32()),
            ("connection", pa.int32()),
            ("life", pa.int16()),
            ("group", _TEXT),
            ("channel", _TEXT),
            ("requested_ns", pa.int64()),
            ("acknowledged_ns", pa.int64()),
            ("probed_ns", pa.int64()),
            ("ready_ns", pa.int64()),
            ("ended_ns", pa.int64()),
            ("error", _TEXT),
            ("turn", pa.int32()),
            ("intent", _TEXT),
            ("refusal", _TEXT),
            ("replies", pa.int32()),
            ("shared", _TEXT),
        ]
    ),
    "connections": pa.schema(
        [
            ("worker", pa.int16()),
            ("connection", pa.int32()),
            ("life", pa.int16()),
            ("group", _TEXT),
            ("started_ns", pa.int64()),
            ("opened_ns", pa.int64()),
            ("acknowledged_ns", pa.int64()),
            ("closed_ns", pa.int64()),
            ("close_code", pa.int32()),
            ("error", _TEXT),
            ("kernel_timestamps", pa.bool_()),
            ("tls", pa.bool_()),
            ("intent", _TEXT),
            ("slow", pa.bool_()),
            ("remote_address", _TEXT),
            ("silent_since_ns", pa.int64()),
            ("refusal", _TEXT),
            ("session", _TEXT),
        ]
    ),
    "clock": pa.schema(
        [
            ("worker", pa.int16()),
            ("sent_ns", pa.int64()),
            ("master_received_ns", pa.int64()),
            ("master_sent_ns", pa.int64()),
            ("received_ns", pa.int64()),
            ("sent_raw_ns", pa.int64()),
            ("master_raw_ns", pa.int64()),
            ("received_raw_ns", pa.int64()),
            ("bound_ns", pa.int64()),
            ("master_bound_ns", pa.int64()),
        ]
    ),
    "health": pa.schema(
        [
            ("worker", pa.int16()),
            ("time_ns", pa.int64()),
            ("interval_ns", pa.int64()),
            ("cpu_ns", pa.int64()),
            ("lag_max_ns", pa.int64()),
            ("late_max_ns", pa.int64()),
            ("queue_max_ns", pa.int64()),
            ("deliveries", pa.int64()),
            ("published", pa.int64()),
            ("gc_ns", pa.int64()),
            ("rss_bytes", pa.int64()),
            ("open_files", pa.int32()),
            ("open_files_limit", pa.int32()),
            ("ports", pa.int32()),
            ("ports_limit", pa.int32()),
            ("clock_moved_ns", pa.int64()),
            ("paused_ns", pa.int64()),
            ("paused_until_ns", pa.int64()),
            ("suspended_ns", pa.int64()),
            ("receive_cpu_ns", pa.int64()),
            *((name, pa.int64()) for name in AROUND),
        ]
    ),
    "echo": pa.schema(
        [
            ("worker", pa.int16()),
            ("sequence", pa.int64()),
            ("intended_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("arrival_ns", pa.int64()),
            ("read_ns", pa.int64()),
        ]
    ),
    # Deliveries whose content differs from what was sent; recorded only if the scenario asks for integrity.
    "altered": pa.schema(
        [
            ("worker", pa.int16()),
            ("subscription", pa.int32()),
            ("publisher", pa.int32()),
            ("sequence", pa.int64()),
            ("arrival_ns", pa.int64()),
        ]
    ),
    # One row for each interval, worker and tag; written out as histograms.hlog.
    "histograms": pa.schema(
        [
            ("worker", pa.int16()),
            ("tag", pa.string()),
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("encoded", pa.string()),
            ("highest", pa.int64()),
            ("negative", pa.int64()),
            ("beyond", pa.int64()),
        ]
    ),
}

#: Tables that are stored as Parquet files. Histograms are stored in histograms.hlog instead.
TABLES: Final = tuple(name for name in SCHEMAS if name != "histograms")

#: Columns that records of earlier versions lack; they read as null.
LATER: Final[Mapping[str, tuple[str, ...]]] = {
    "deliveries": ("uncertain_ns",),
    "events": (
        "connection_wait_ns",
        "remote_address",
        "cause_publisher",
        "cause_sequence",
        "cause_subscription",
    ),
    "subscriptions": ("turn", "intent", "refusal", "replies", "shared"),
    "connections": ("intent", "slow", "remote_address", "silent_since_ns", "refusal", "session"),
    "clock": ("sent_raw_ns", "master_raw_ns", "received_raw_ns", "bound_ns", "master_bound_ns"),
    "health": ("paused_ns", "paused_until_ns", "suspended_ns", "receive_cpu_ns", *AROUND),
}

#: Columns stamped by a worker's own clock. The schedule (`intended_ns`) is on the master's clock.
LOCAL_TIMES: Final[Mapping[str, frozenset[str]]] = {
    "deliveries": frozenset({"sent_ns", "arrival_ns", "read_ns"}),
    "events": frozenset({"slot_ns", "sent_ns", "acked_ns"}),
    "subscriptions": frozenset({"requested_ns", "acknowledged_ns", "probed_ns", "ready_ns", "ended_ns"}),
    "connections": frozenset({"started_ns", "opened_ns", "acknowledged_ns", "closed_ns", "silent_since_ns"}),
    "health": frozenset({"time_ns", "paused_until_ns"}),
    "altered": frozenset({"arrival_ns"}),
}


def spool_name(table: str, worker: int) -> str:
    """Return the file name of the stream to which a worker writes a table's rows during a run."""
    return f"{table}-{worker:04d}.arrows"


@cache
def plain(table: str) -> pa.Schema:
    """Return a table's schema with texts as plain strings, as in the spool (the table on disk during a run).

    The spool is an Arrow IPC stream. If its texts were dictionary-encoded, every batch would have to replace the
    dictionaries.
    """
    return pa.schema([(field.name, _plain(field.type)) for field in SCHEMAS[table]])


@cache
def integers(table: str) -> tuple[str, ...]:
    """Return the names of a table's integer columns."""
    return tuple(field.name for field in SCHEMAS[table] if pa.types.is_integer(field.type))


@cache
def texts(table: str) -> tuple[str, ...]:
    """Return the names of a table's text columns."""
    return tuple(field.name for field in plain(table) if pa.types.is_string(field.type))


@cache
def flags(table: str) -> tuple[str, ...]:
    """Return the names of a table's boolean columns."""
    return tuple(field.name for field in SCHEMAS[table] if pa.types.is_boolean(field.type))


@cache
def columns(table: str) -> frozenset[str]:
    """Return the names of all columns that a table may have."""
    return frozenset(SCHEMAS[table].names)


@cache
def later_types(table: str) -> Mapping[str, pa.DataType]:
    """Return the types, by name, of the columns that older records lack."""
    schema = plain(table)
    return {name: schema.field(name).type for name in LATER.get(table, ())}


def _plain(type_: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_dictionary(type_) else type_
