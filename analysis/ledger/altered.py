"""Find the expected deliveries whose content is not what was sent."""

import numpy as np

from analysis.ledger.marks import Marks
from analysis.ledger.order import Deliveries
from analysis.loading.run import RowGroup, Run, ints
from analysis.loading.slices import in_turn

_NAMES = ("publisher", "sequence", "subscription", "arrival_ns")
_NONE = np.empty(0, dtype=np.int64)


def find_altered(run: Run, expected_rows: Marks) -> Deliveries | None:
    """Return the altered expected deliveries, or None if the run did not check the content of deliveries.

    ``expected_rows`` marks the first delivery of each expected pair; later copies do not count. The record names an
    altered delivery by its arrival time. Copies that were read together have the same arrival time, so a pair counts as
    altered if any of these copies was altered.
    """
    if not run.checks_content:
        return None
    table = run.table("altered", _NAMES)
    keys = set(zip(*(ints(table, name).tolist() for name in _NAMES), strict=True))
    if not keys:
        return Deliveries(_NONE, _NONE, _NONE)
    events = np.unique(
        np.array([(publisher << 32) | sequence for publisher, sequence, *_ in keys], dtype=np.int64)
    )

    def read(group: RowGroup) -> list[tuple[int, ...]]:
        _, rows = run.deliveries_in(_NAMES, group=group)
        wanted = expected_rows.of(group)
        columns = [ints(rows, name) for name in _NAMES]
        wanted = wanted & np.isin((columns[0] << 32) | columns[1], events)
        return [key for key in zip(*(each[wanted].tolist() for each in columns), strict=True) if key in keys]

    groups = [group for group in run.row_groups if expected_rows.some(group)]
    found = sorted({key for part in in_turn(read, groups) for key in part})
    if not found:
        return Deliveries(_NONE, _NONE, _NONE)
    publisher, sequence, subscription, _ = (
        np.array(column, dtype=np.int64) for column in zip(*found, strict=True)
    )
    return Deliveries(publisher, sequence, subscription)
