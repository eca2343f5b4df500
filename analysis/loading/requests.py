"""Find the publish requests in the events table, which has a row for each event."""

import numpy as np
import pyarrow as pa

from analysis.loading.run import Ints, codes, ints

#: Columns that `request_rows` reads.
COLUMNS = ("publisher", "batch", "status")
#: Status of an event that the generator failed to make; the publish request was sent without this event.
_UNMADE = "unmade"


def request_rows(table: pa.Table) -> Ints:
    """Return the index of one row for each publish request, ordered by publisher and request.

    The service answers a request as a whole, so all rows of a request have the same times. The exception is the row of
    an event that the generator failed to make, which has no times. It is returned only if the request has no other row.
    """
    key = (ints(table, "publisher") << 32) | ints(table, "batch")
    code, statuses = codes(table, "status")
    if _UNMADE not in statuses:
        _, first = np.unique(key, return_index=True)
        return np.asarray(first, dtype=np.int64)
    made = code != statuses.index(_UNMADE)
    # `np.unique` returns the first row of each key. So put unmade events last, to find a made event where there is one.
    order = np.concatenate((np.flatnonzero(made), np.flatnonzero(~made)))
    _, first = np.unique(key[order], return_index=True)
    return np.asarray(order[first], dtype=np.int64)
