"""The main figures of a run, computed independently by DuckDB straight from its Parquet files.

The queries use neither `analysis.ledger.reconcile` nor `analysis.figures.percentiles`. `quantile_disc` is the nearest
rank, as in this project's definition of a percentile. Figures on which the two methods would rightly disagree are left
out: those that depend on corrected clocks, or on the deliveries that are expected while a client reconnects.

An echo is an event that a worker publishes to a channel to which only it subscribes: its echo lane
(`loadgen.run.echo`).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from analysis.figures import offered
from analysis.loading.run import Run, Window
from analysis.verify import independent_reactions

#: Files up to this size are read into memory once. A larger file is read again by each query, which reads only the
#: columns it needs.
_SMALL_BYTES = 4_000_000
_POINTS = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p999"))


def figures(run: Run, window: Window) -> dict[str, float | None]:
    """Return figures by their path in the summary, such as `delivery.headline_ns.p99`."""
    with opened(run) as (database, plain):
        later = _has_intents(database)
        slow = _SLOW if later else ""
        inside = _inside(window)
        found = _counts(database, inside, window)
        for path, value, source in (
            ("delivery.headline_ns", "arrival_ns - intended_ns", f"deliveries WHERE {inside}"),
            ("delivery.service_ns", "arrival_ns - sent_ns", f"deliveries WHERE {inside}"),
            ("delivery.receive_queue_ns", "read_ns - arrival_ns", f"deliveries WHERE {inside}{slow}"),
            ("publish.answer_ns", "took_ns", _requests(inside)),
        ):
            found |= _distribution(database, path, value, source)
        found |= _echoes(database, run, inside, plain)
        for number, step in enumerate(offered.steps(run)):
            found |= _step(database, f"steps.{number}", step.window)
        if later:
            found |= _recovery(database)
        found |= _cost(database, run)
        found |= independent_reactions.figures(database, run.phases, window, MATCHES)
        if _simple(database, later):
            found |= _ledger(database, inside, run.late_after_ns, window)
            if run.checks_content:
                found["ledger.altered"] = altered(database, run, window, plain)
            for name, statistic in (("first", "min"), ("last", "max")):
                source = (
                    f"(SELECT {statistic}(latency_ns) AS latency_ns FROM ({_expected_arrivals(database, inside)})"  # noqa: S608
                    " GROUP BY publisher, sequence)"
                )
                found |= _distribution(database, f"fanout.{name}_ns", "latency_ns", source)
        return found


@contextmanager
def opened(run: Run) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """Yield a database with the run's main tables, and the path of a temporary folder for the links of `_source`."""
    with tempfile.TemporaryDirectory(prefix="loadgen-") as plain, _started().cursor() as database:
        for name in ("deliveries", "events", "subscriptions", "connections"):
            path = run.tables_path / f"{name}.parquet"
            kind = "TABLE" if path.exists() and path.stat().st_size <= _SMALL_BYTES else "VIEW"
            source = _source(path, plain)
            database.execute(f"CREATE TEMP {kind} {name} AS SELECT * FROM read_parquet('{source}')")  # noqa: S608  a path
        database.execute(_RECEIVERS[_has_column(database, "subscriptions", "shared")])
        yield database, plain


#: SQL that makes a table with the receiver of each subscription. Subscriptions that share their events count as one
#: receiver, numbered by the lowest of their numbers. The first statement is for older records, which have no shared
#: subscriptions.
_RECEIVERS = (
    "CREATE TEMP TABLE receivers AS SELECT DISTINCT subscription, subscription AS receiver FROM subscriptions",
    "CREATE TEMP TABLE receivers AS SELECT subscription, min(receiver) AS receiver FROM (SELECT subscription,"
    " CASE WHEN shared IS NULL THEN subscription ELSE min(subscription) OVER (PARTITION BY shared, channel) END"
    " AS receiver FROM subscriptions) GROUP BY subscription",
)


def _has_column(database: Any, table: str, column: str) -> bool:
    return column in {row[0] for row in database.execute(f"DESCRIBE {table}").fetchall()}


def _inside(window: Window) -> str:
    return f"intended_ns >= {window.start_ns} AND intended_ns < {window.end_ns}"


@cache
def _started() -> duckdb.DuckDBPyConnection:
    """Return the shared database in memory; each run takes a cursor, which has its own temporary tables and views.

    Starting a database takes longer than most queries.
    """
    database = duckdb.connect()
    database.execute("SET threads = 2")
    return database


def applies_to(run: Run) -> bool:
    """Return True if there are deliveries and all times are on one clock, so that raw differences are meaningful."""
    return (
        all(fit.shared for fit in run.clocks.values()) and (run.tables_path / "deliveries.parquet").exists()
    )


def _source(path: Path, plain: str) -> str:
    """Return a link to a file, for use in SQL: DuckDB would take a path with `*`, `?` or `[` for a pattern."""
    link = Path(plain) / path.name
    link.symlink_to(path.resolve())
    return str(link).replace("'", "''")


def _echoes(database: Any, run: Run, inside: str, plain: str) -> dict[str, float | None]:
    """Return the round-trip times of the workers' echo messages, keyed like the summary's figures."""
    path = run.tables_path / "echo.parquet"
    lanes = [worker["worker"] for worker in run.manifest["workers"] if worker.get("echo") is not None]
    if not path.exists():
        return {}
    source = _source(path, plain)
    found: dict[str, float | None] = {}
    for place, worker in enumerate(lanes):
        its = f"read_parquet('{source}') WHERE {inside} AND arrival_ns IS NOT NULL AND worker = {int(worker)}"
        found |= _distribution(database, f"echo.each.{place}.service_ns", "arrival_ns - sent_ns", its)
    return found


def _counts(database: Any, inside: str, window: Window) -> dict[str, float | None]:
    # If the service does not answer publishes, the number of accepted events is unknown.
    due, accepted, unknown = database.execute(
        "SELECT count(*), count(*) FILTER (status = 'accepted'), count(*) FILTER (status = 'sent') > 0"  # noqa: S608
        f" FROM events WHERE {inside}"
    ).fetchone()
    if unknown:
        accepted = None
    (rows,) = database.execute(f"SELECT count(*) FROM deliveries WHERE {inside}").fetchone()  # noqa: S608
    return {
        "ledger.events_due": due,
        "ledger.events_accepted": accepted,
        "ledger.rows": rows,
        "throughput.offered_per_s": due / window.seconds,
        "throughput.accepted_per_s": None if accepted is None else accepted / window.seconds,
    }


def _cost(database: Any, run: Run) -> dict[str, float | None]:
    """Return the billed operations of the whole run, by a join that the summary's code does not use."""
    prices = run.manifest.get("prices")
    if prices is None or run.broken_off_ns:
        return {}
    unit = int(prices["message_unit_bytes"])
    messages = f"greatest(1, (bytes + {unit - 1}) // {unit})"
    (published,) = database.execute(
        f"SELECT coalesce(sum({messages}), 0) FROM events WHERE sent_ns IS NOT NULL"  # noqa: S608
    ).fetchone()
    delivered, bytes_out, unmatched = database.execute(
        f"SELECT coalesce(sum({messages}), 0), coalesce(sum(bytes), 0), count(*) FILTER (WHERE bytes IS NULL)"  # noqa: S608
        " FROM deliveries LEFT JOIN events USING (publisher, sequence)"
    ).fetchone()
    if unmatched:
        return {}
    end_ns = max((end_ns for _, end_ns in run.phases.values() if end_ns is not None), default=0)
    connects, open_ns = database.execute(
        f"SELECT count(*), coalesce(sum(greatest(0, coalesce(closed_ns, {end_ns}) - opened_ns)), 0)"  # noqa: S608
        " FROM connections WHERE opened_ns IS NOT NULL"
    ).fetchone()
    (subscribes,) = database.execute("SELECT count(*) FROM subscriptions").fetchone()
    # Add the connections and subscriptions that workers use for their echoes: only the manifest has them, not the
    # tables.
    for lane in filter(None, (worker.get("echo") for worker in run.manifest["workers"])):
        connects, subscribes = connects + lane["connects"], subscribes + lane["subscribes"]
    found = {"publish": published, "delivery": delivered, "connect": connects, "subscribe": subscribes}
    return {
        **{f"cost.operations.{name}": int(number) for name, number in found.items()},
        "cost.bytes_out": int(bytes_out),
        "cost.connection_minutes": int(open_ns) / 60_000_000_000,
    }


def _step(database: Any, path: str, window: Window) -> dict[str, float | None]:
    inside = _inside(window)
    found = _counts(database, inside, window)
    return {
        f"{path}.events_due": found["ledger.events_due"],
        f"{path}.events_accepted": found["ledger.events_accepted"],
        **_distribution(
            database, f"{path}.headline_ns", "arrival_ns - intended_ns", f"deliveries WHERE {inside}"
        ),
    }


def _requests(inside: str) -> str:
    return (
        "(SELECT any_value(acked_ns) - any_value(sent_ns) AS took_ns FROM events"  # noqa: S608
        f" WHERE {inside} AND sent_ns IS NOT NULL AND acked_ns IS NOT NULL GROUP BY publisher, batch)"
    )


def _distribution(database: Any, path: str, value: str, source: str) -> dict[str, float | None]:
    shares = [share for share, _ in _POINTS]
    count, least, most, points = database.execute(
        f"SELECT count({value}), min({value}), max({value}), quantile_disc({value}, {shares}) FROM {source}"  # noqa: S608
    ).fetchone()
    named = dict(zip((name for _, name in _POINTS), points or [None] * len(_POINTS), strict=True))
    return {
        f"{path}.{name}": number
        for name, number in {"count": count, "min": least, "max": most, **named}.items()
    }


#: SQL condition that leaves out clients that read slowly on purpose.
_SLOW = (
    " AND subscription NOT IN"
    " (SELECT subscription FROM subscriptions JOIN connections USING (connection) WHERE slow)"
)


def _has_intents(database: Any) -> bool:
    """Return True if the run's record says which connections clients ended themselves; older records do not."""
    columns = {row[0] for row in database.execute("DESCRIBE connections").fetchall()}
    return "intent" in columns


def _recovery(database: Any) -> dict[str, float | None]:
    """Return the figures of recovery from each drop; empty if nothing was dropped."""
    drops = database.execute(
        'SELECT min(closed_ns) AS at_ns, "group", intent, count(*) FROM connections'
        " WHERE starts_with(intent, 'drop ') AND closed_ns IS NOT NULL GROUP BY \"group\", intent"
        ' ORDER BY at_ns, "group", CAST(substr(intent, 6) AS INTEGER)'
    ).fetchall()
    found: dict[str, float | None] = {}
    for place, (at_ns, group, intent, connections) in enumerate(drops):
        count, ready, time_ns = database.execute(
            "WITH again AS (SELECT cut.subscription, (SELECT arg_min(next.ready_ns, (next.life, next.turn)) FROM"
            " subscriptions next WHERE next.subscription = cut.subscription AND next.ready_ns IS NOT NULL"
            " AND (next.life, next.turn) > (cut.life, cut.turn)) AS ready_ns FROM subscriptions cut"
            ' WHERE cut.intent = ? AND cut."group" = ? AND cut.ready_ns IS NOT NULL)'
            " SELECT count(*), count(ready_ns), quantile_disc(coalesce(ready_ns, 9223372036854775807), 0.99)"
            " FROM again",
            [intent, group],
        ).fetchone()
        name = f"recovery.drops.{place}"
        found |= {f"{name}.at_ns": at_ns, f"{name}.connections": connections}
        found |= {f"{name}.subscriptions": count, f"{name}.ready_again": ready}
        if count:
            found[f"{name}.to_99_ns"] = None if time_ns == 2**63 - 1 else time_ns - at_ns
    return found


def _simple(database: Any, later: bool) -> bool:
    """Return True if every subscription was requested once and no connection was lost or ended early."""
    own = " OR turn > 0 OR intent IS NOT NULL" if later else ""
    (again,) = database.execute(f"SELECT count(*) FROM subscriptions WHERE life > 0{own}").fetchone()  # noqa: S608
    (lost,) = database.execute("SELECT count(*) FROM connections WHERE error IS NOT NULL").fetchone()
    return not again and not lost


MATCHES = (
    "(s.channel = e.channel OR (s.channel LIKE '%/*' AND starts_with(e.channel, left(s.channel, len(s.channel) - 1))"
    " AND len(e.channel) > len(s.channel) - 1))"
)


def _pairs(database: Any, inside: str) -> str:
    """Return SQL for expected deliveries: an accepted event, and a matching receiver at the time of sending.

    A receiver is a subscription, or all members of a shared subscription together.
    """
    (shared,) = database.execute(
        "SELECT count(*) > 0 FROM receivers WHERE subscription <> receiver"
    ).fetchone()
    return (
        f"SELECT {'DISTINCT' if shared else ''} e.publisher, e.sequence, e.intended_ns, s.receiver FROM"  # noqa: S608
        f" (SELECT * FROM events WHERE {inside} AND status IN ('accepted', 'sent')) e JOIN"
        " (SELECT receiver, channel, ended_ns,"
        " least(coalesce(acknowledged_ns, ready_ns), coalesce(ready_ns, acknowledged_ns)) AS since_ns"
        " FROM subscriptions JOIN receivers USING (subscription)"
        " WHERE coalesce(acknowledged_ns, ready_ns) IS NOT NULL) s"
        f" ON {MATCHES} AND e.sent_ns >= s.since_ns AND (s.ended_ns IS NULL OR e.sent_ns < s.ended_ns)"
    )


#: SQL for all deliveries, each with the receiver of its subscription (see `_RECEIVERS`).
_RECEIVED = "(SELECT d.*, receiver FROM deliveries d JOIN receivers USING (subscription))"


def _expected_arrivals(database: Any, inside: str) -> str:
    return (
        "SELECT p.publisher, p.sequence, min(d.arrival_ns) - any_value(p.intended_ns) AS latency_ns"  # noqa: S608
        f" FROM ({_pairs(database, inside)}) p JOIN {_RECEIVED} d USING (publisher, sequence, receiver)"
        " GROUP BY p.publisher, p.sequence, p.receiver"
    )


def altered(database: Any, run: Run, window: Window, plain: str) -> int:
    """Return the number of expected deliveries whose first copy is in altered.parquet, matched by arrival time.

    ``database`` and ``plain`` come from `opened`. The result is right only if every subscription had one life and the
    run checked the content of deliveries.
    """
    path = _source(run.tables_path / "altered.parquet", plain)
    (count,) = database.execute(
        "SELECT count(*) FROM (SELECT p.publisher, p.sequence, arg_min(d.subscription, d.arrival_ns) AS subscription,"  # noqa: S608
        " min(d.arrival_ns) AS arrival_ns"
        f" FROM ({_pairs(database, _inside(window))}) p JOIN {_RECEIVED} d USING (publisher, sequence, receiver)"
        " GROUP BY p.publisher, p.sequence, p.receiver) first"
        f" SEMI JOIN read_parquet('{path}') altered USING (publisher, sequence, subscription, arrival_ns)"
    ).fetchone()
    return int(count)


def _ledger(database: Any, inside: str, late_after_ns: int | None, window: Window) -> dict[str, float | None]:
    (expected,) = database.execute(f"SELECT count(*) FROM ({_pairs(database, inside)})").fetchone()  # noqa: S608
    bound_ns = 2**63 - 1 if late_after_ns is None else late_after_ns
    arrived, late = database.execute(
        f"SELECT count(*), count(*) FILTER (latency_ns > {bound_ns}) FROM ({_expected_arrivals(database, inside)})"  # noqa: S608
    ).fetchone()
    delivered = arrived - late
    return {
        "ledger.expected": expected,
        "ledger.lost": expected - arrived,
        "ledger.late": late,
        "ledger.delivered": delivered,
        "throughput.delivered_per_s": delivered / window.seconds,
    }
