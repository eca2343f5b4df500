"""The figures of reactions, computed by DuckDB with joins that the summary's code does not use.

A reaction is the chain from a request, over its delivery to a client that replies, to the arrival of the reply.
"""

from collections.abc import Mapping
from typing import Any

from analysis.loading.run import Window

_SHARES = "[0.5, 0.9, 0.99, 0.999]"
_CAUSE = "cause_publisher, cause_sequence, cause_subscription"


def figures(
    database: Any, phases: Mapping[str, tuple[int, int | None]], window: Window, matches: str
) -> dict[str, float | None]:
    """Return figures by their path in the summary; empty if no client replies.

    The views ``events``, ``deliveries`` and ``subscriptions`` must exist. ``matches`` is the SQL condition under which
    a subscription ``s`` receives an event ``e``. The figures on when replies arrived are left out if any subscription
    was given up or requested again, as after a reconnect, because this function does not compute which deliveries are
    expected then.
    """
    columns = {name for (name, *_) in database.execute("DESCRIBE events").fetchall()}
    later = {name for (name, *_) in database.execute("DESCRIBE subscriptions").fetchall()}
    if "cause_publisher" not in columns or "replies" not in later:
        return {}
    (replies,) = database.execute("SELECT count(cause_publisher) FROM events").fetchone()
    (responding,) = database.execute("SELECT count(replies) FROM subscriptions").fetchone()
    if not replies and not responding:
        return {}
    end_ns = max((end_ns for _, end_ns in phases.values() if end_ns is not None), default=2**62)
    database.execute(
        "CREATE OR REPLACE TEMP TABLE replies AS SELECT r.*, q.intended_ns AS requested_ns FROM events r"  # noqa: S608
        " JOIN events q ON r.cause_publisher = q.publisher AND r.cause_sequence = q.sequence"
        f" WHERE q.intended_ns >= {window.start_ns} AND q.intended_ns < {window.end_ns}"
    )
    accepted, cut_off, answered = database.execute(
        "SELECT count(*) FILTER (status IN ('accepted', 'sent')),"  # noqa: S608
        f" count(*) FILTER (status = 'unsent' AND intended_ns >= {end_ns}),"
        f" (SELECT count(*) FROM (SELECT DISTINCT {_CAUSE} FROM replies WHERE status IN ('accepted', 'sent')))"
        " FROM replies"
    ).fetchone()
    delivered, due = database.execute(
        "SELECT count(*), coalesce(sum(replies), 0) FROM"  # noqa: S608
        " (SELECT DISTINCT publisher, sequence, subscription FROM deliveries"
        f" WHERE intended_ns >= {window.start_ns} AND intended_ns < {window.end_ns})"
        " JOIN (SELECT subscription, any_value(replies) AS replies FROM subscriptions WHERE replies IS NOT NULL"
        " GROUP BY subscription) USING (subscription)"
    ).fetchone()
    # If the scenario plans no replies for a subscription, user code may make some. Add these: all of them count as due.
    own, made = database.execute(
        f"SELECT count(DISTINCT ({_CAUSE})), count(*) FROM replies WHERE cause_subscription NOT IN"  # noqa: S608
        " (SELECT subscription FROM subscriptions WHERE replies IS NOT NULL)"
    ).fetchone()
    due = int(due + made)
    found: dict[str, float | None] = {
        "reaction.requests.delivered": delivered + own,
        "reaction.requests.answered": answered,
        "reaction.replies.due": due,
        "reaction.replies.accepted": accepted,
        "reaction.replies.cut_off": cut_off,
        "reaction.replies.missing": due - accepted - cut_off,
    }
    (again,) = database.execute(
        "SELECT count(*) FROM subscriptions WHERE life > 0 OR turn > 0 OR intent IS NOT NULL"
    ).fetchone()
    if again:
        return found
    database.execute(
        "CREATE OR REPLACE TEMP TABLE arrived AS"  # noqa: S608
        " SELECT e.cause_publisher, e.cause_sequence, e.cause_subscription, d.subscription, e.publisher, e.sequence,"
        " any_value(e.requested_ns) AS requested_ns, min(d.arrival_ns) AS arrival_ns,"
        " arg_min(d.place, (d.arrival_ns, d.read_ns)) AS place FROM replies e"
        " JOIN (SELECT *, row_number() OVER () AS place FROM deliveries) d USING (publisher, sequence)"
        " JOIN (SELECT subscription, channel,"
        " least(coalesce(acknowledged_ns, ready_ns), coalesce(ready_ns, acknowledged_ns)) AS since_ns, ended_ns"
        " FROM subscriptions) s ON s.subscription = d.subscription"
        f" AND {matches} AND e.sent_ns >= s.since_ns AND (s.ended_ns IS NULL OR e.sent_ns < s.ended_ns)"
        " WHERE e.status IN ('accepted', 'sent') GROUP BY ALL"
    )
    stream = f"{_CAUSE}, subscription"
    (arrived,) = database.execute("SELECT count(*) FROM arrived").fetchone()
    (disorder,) = database.execute(
        f"SELECT count(*) FILTER (sequence < highest) FROM (SELECT sequence, max(sequence) OVER"  # noqa: S608
        f" (PARTITION BY {stream} ORDER BY place) AS highest FROM arrived)"
    ).fetchone()
    found |= {"reaction.replies.arrived": arrived, "reaction.replies.disorder": disorder}
    for name, source in (
        ("latency_ns", "SELECT arrival_ns - requested_ns AS value FROM arrived"),
        (
            "first_ns",
            f"SELECT min(arrival_ns) - any_value(requested_ns) AS value FROM arrived GROUP BY {stream}",  # noqa: S608
        ),
        (
            "gap_ns",
            "SELECT arrival_ns - lag(arrival_ns) OVER"  # noqa: S608
            f" (PARTITION BY {stream} ORDER BY arrival_ns, place) AS value FROM arrived",
        ),
    ):
        count, least, most, points = database.execute(
            f"SELECT count(value), min(value), max(value), quantile_disc(value, {_SHARES}) FROM ({source})"  # noqa: S608
        ).fetchone()
        named = dict(zip(("p50", "p90", "p99", "p999"), points or [None] * 4, strict=True))
        found |= {
            f"reaction.{name}.{key}": number
            for key, number in {"count": count, "min": least, "max": most, **named}.items()
        }
    return found
