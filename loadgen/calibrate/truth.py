"""Join a run's record with the server's journal of the same run, delivery by delivery.

The journal is the embedded server's own record of events, deliveries and injected faults (`loadgen.server.journal`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.ledger.reconcile import Reconciled, reconcile
from analysis.loading.run import Run
from loadgen.server.journal_reader import Journal

Ints = npt.NDArray[np.int64]
_PAIR = ["publisher", "sequence", "subscription"]
DUPLICATE = 2


@dataclass(frozen=True)
class Truth:
    """The record of the harness and of the server, for the events of the measure phase.

    `received` has the harness's deliveries, in the order in which each subscription received them. `written` has the
    server's writes in order, and `withheld` the deliveries that the server planned but never wrote. All three have the
    columns publisher, sequence and subscription (the harness's number of the subscription). In `received` and
    `written`, the column `copy` numbers the rows of one event and subscription from 0.
    """

    settled: Reconciled
    received: pd.DataFrame
    written: pd.DataFrame
    withheld: pd.DataFrame
    events: pd.DataFrame
    actions: pd.DataFrame

    @classmethod
    def of(cls, run: Run, journal: Journal) -> "Truth":
        """Join a run with the journal of its server.

        Raises:
            ValueError: the run has no measure phase, or the journal belongs to another run.
        """
        window = run.measure
        if window is None:
            raise ValueError("the run did not reach its measure phase")
        received = run.table(
            "deliveries", [*_PAIR, "intended_ns", "sent_ns", "arrival_ns", "read_ns"], window
        ).to_pandas()
        due = run.table(
            "events", ["publisher", "sequence", "intended_ns", "sent_ns", "status"], window
        ).to_pandas()
        events = _events(journal, run.manifest["token"]).merge(
            due, on=["publisher", "sequence"], how="inner", validate="one_to_one"
        )
        if not len(events):
            raise ValueError("the journal knows none of the run's events: it is of another server or run")
        deliveries = _deliveries(journal).merge(
            events[["event", "publisher", "sequence", "intended_ns", "sent_ns"]], on="event", how="inner"
        )
        deliveries = deliveries.sort_values("place", kind="stable", ignore_index=True)
        is_written = deliveries["written_ns"].notna()
        written = deliveries[is_written].copy()
        written["written_ns"] = written["written_ns"].astype(np.int64)
        return cls(
            reconcile(run, window),
            _numbered(received),
            _numbered(written),
            deliveries[~is_written],
            events,
            journal.actions.to_pandas(),
        )

    def joined(self) -> pd.DataFrame:
        """Return one row for each delivery that harness and server both recorded.

        If an event was delivered several times, the copies are matched in order.
        """
        return self.received.merge(
            self.written[[*_PAIR, "copy", "decided_ns", "due_ns", "written_ns", "action"]],
            on=[*_PAIR, "copy"],
            how="inner",
            validate="one_to_one",
        )


def reordered(rows: pd.DataFrame) -> set[tuple[int, int, int]]:
    """Return the (publisher, sequence, subscription) of deliveries that follow a later event of the same publisher.

    The result comes from the order of the rows, independently of `analysis.ledger.reconcile`, so the two check each
    other.
    """
    first = rows[rows["copy"] == 0]
    highest = first.groupby(["publisher", "subscription"], sort=False)["sequence"].cummax()
    return pairs(first[first["sequence"] < highest])


def pairs(rows: pd.DataFrame) -> set[tuple[int, int, int]]:
    """Return the (publisher, sequence, subscription) of each row."""
    return set(zip(*(rows[name].tolist() for name in _PAIR), strict=True))


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.reset_index(drop=True)
    rows["copy"] = rows.groupby(_PAIR, sort=False).cumcount()
    return rows


def _events(journal: Journal, token: int) -> pd.DataFrame:
    events = journal.events.select(["event", "accepted", "token", "publisher", "sequence"]).to_pandas()
    events = events[(events["token"] == token) & (events["publisher"] >= 0)]
    named: pd.DataFrame = events.drop(columns="token").astype({"publisher": np.int64, "sequence": np.int64})
    return named


def _deliveries(journal: Journal) -> pd.DataFrame:
    """Return the journal's deliveries, with the server's subscription numbers replaced by the harness's."""
    known: dict[int, Any] = {}
    for row in journal.subscriptions.select(["subscription", "id"]).to_pylist():
        known[row["subscription"]] = int(row["id"][1:]) if row["id"][1:].isdecimal() else -1
    table = journal.deliveries
    frame: pd.DataFrame = table.drop_columns(["written_ns"]).to_pandas()
    # Use nullable integers, since a float would round a count of nanoseconds.
    frame["written_ns"] = pd.array(table.column("written_ns").to_pylist(), dtype="Int64")
    frame["place"] = np.arange(len(frame))
    frame["subscription"] = frame["subscription"].map(known).astype(np.int64)
    return frame
