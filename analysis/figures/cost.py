"""Count the operations that a run caused at the service, and compute their cost at the prices kept in its record.

The counts cover all phases: events that were sent, whatever their outcome, and frames that arrived. A delivery that was
lost may have been billed too, which the record cannot show. The number of handler invocations is unknown, except for
the embedded server, which has no handlers and so makes none.
"""

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from analysis import pricing
from analysis.figures import echo
from analysis.loading.run import Ints, Run, ints
from analysis.loading.slices import all_stretches

_NS_PER_MINUTE = 60_000_000_000
_BATCH_ROWS = 1_000_000
_NONE = np.empty(0, dtype=np.int64)


def cost(run: Run) -> dict[str, Any] | None:
    """Return the summary's section `cost`, or None if the run's record holds no prices."""
    prices = run.manifest.get("prices")
    if prices is None:
        return None
    counted, minutes, bytes_out = operations(
        run, prices["message_unit_bytes"], prices["keepalive_interval_s"]
    )
    target = run.manifest["target"]
    bill = pricing.bill(counted, minutes, bytes_out, prices)
    return {
        # A target on this machine costs nothing.
        "billed": not target.get("loopback", target["embedded"]),
        "prices": {name: prices[name] for name in ("service", "region", "as_of", "certainty")},
        "operations": counted,
        "operations_billed": int(pricing.operations(counted, prices)),
        "connection_minutes": minutes,
        "bytes_out": bytes_out,
        "usd": bill["usd"],
        "usd_total": bill["total"],
        "usd_unclear": bill["unclear"],
        "unknown": bill["unknown"],
    }


def operations(
    run: Run, unit_bytes: int, keepalive_s: float
) -> tuple[dict[str, float | None], float, int | None]:
    """Return a run's operations by the names of `analysis.pricing.KINDS`, its connection-minutes, and bytes delivered.

    Events and deliveries count once for each unit of ``unit_bytes`` or part of one. Unknown numbers are None.
    """
    published, delivered, bytes_out = counted_events(run, unit_bytes)
    connects, open_ns = _connections(run)
    echoes = echo.counted(run)
    counted: dict[str, float | None] = {
        "publish": published,
        "delivery": delivered,
        "foreign": _of_workers(run, "foreign"),
        "probe_publish": _plus(_of_workers(run, "probes"), echoes["sent"] * echoes["messages"]),
        "probe_delivery": _plus(
            _of_workers(run, "probe_deliveries"), echoes["returned"] * echoes["messages"]
        ),
        "connect": connects + echoes["connects"],
        "subscribe": run.table("subscriptions", ("subscription",)).num_rows + echoes["subscribes"],
        "handler": 0 if run.manifest["target"]["embedded"] else None,
        "keepalive": int((open_ns // (keepalive_s * 1e9)).sum()),
    }
    return counted, int(open_ns.sum()) / _NS_PER_MINUTE, bytes_out


def _plus(known: int | None, more: int) -> int | None:
    return None if known is None else known + more


def _of_workers(run: Run, name: str) -> int | None:
    """Return the sum of a count over all workers, or None if one of them did not report it."""
    workers = run.manifest["workers"]
    if not all(worker["finished"] and name in worker for worker in workers):
        return None
    return sum(int(worker[name]) for worker in workers)


def _connections(run: Run) -> tuple[int, Ints]:
    """Return the number of connections opened, and how long (ns) each was open, counted up to the end of the record."""
    table = run.table("connections", ("worker", "opened_ns", "closed_ns"))
    worker, opened_ns, closed_ns = (ints(table, name) for name in ("worker", "opened_ns", "closed_ns"))
    phases = [end for _, end in run.phases.values() if end is not None]
    ends_ns = np.full(len(opened_ns), max(phases, default=0), dtype=np.int64)
    for number, end_ns in run.broken_off_ns.items():
        ends_ns[worker == number] = end_ns
    ends_ns = np.where(closed_ns >= 0, closed_ns, ends_ns)
    was_open = opened_ns >= 0
    return int(np.count_nonzero(was_open)), np.maximum(ends_ns - opened_ns, 0)[was_open]


def counted_events(run: Run, unit_bytes: int) -> tuple[int, int, int | None]:
    """Return the messages published and delivered, in billing units, and the bytes delivered (None if unknown).

    A delivery has the size recorded for its event. If the event is not on record because its publisher's record broke
    off, the delivery counts as one message and the bytes are not known.
    """
    published, sizes = 0, _NONE
    for stretch in all_stretches(run):
        table = run.table("events", ("sent_ns", "bytes"), stretch)
        size = ints(table, "bytes")
        published += int(_units(size, unit_bytes)[ints(table, "sent_ns") >= 0].sum())
        if len(sizes) < 2:
            sizes = np.unique(np.concatenate((sizes, size)))
    path = run.tables_path / "deliveries.parquet"
    rows = pq.read_metadata(path).num_rows if path.exists() else 0
    if not rows:
        return published, 0, 0
    whole = not run.broken_off_ns
    if whole and len(sizes) == 1:
        # The usual case: all events are padded to one size, so no delivery has to be read.
        return published, rows * int(_units(sizes, unit_bytes)[0]), rows * int(sizes[0])
    table = run.table("events", ("publisher", "sequence", "bytes"))
    size = ints(table, "bytes")
    units = _units(size, unit_bytes)
    keys = (ints(table, "publisher") << 40) | ints(table, "sequence")
    order = np.argsort(keys)
    keys, units, size = keys[order], units[order], size[order]
    delivered = bytes_out = 0
    for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS, columns=["publisher", "sequence"]):
        publisher, sequence = (np.asarray(batch.column(n).to_numpy(), dtype=np.int64) for n in (0, 1))
        wanted = (publisher << 40) | sequence
        place = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        known = keys[place] == wanted if len(keys) else np.zeros(len(wanted), dtype=bool)
        whole = whole and bool(known.all())
        delivered += int(units[place[known]].sum()) + int(np.count_nonzero(~known))
        bytes_out += int(size[place[known]].sum())
    return published, delivered, bytes_out if whole else None


def _units(size: Ints, unit_bytes: int) -> Ints:
    return np.maximum(1, -(-size // unit_bytes))
