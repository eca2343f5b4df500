"""A run's record and the server's journal of the same run, joined delivery by delivery."""

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
    """Both sides, restricted to the events of the measure phase.

    `received`: the harness's rows, in the order in which each subscription received them. `written`: the server's
    writes, in the order in which it made them. `withheld`: deliveries that the server decided on and never wrote. All
    have publisher, sequence and subscription (the harness's number); `copy` counts the rows of a pair from 0.
    """

    settled: Reconciled
    received: pd.DataFrame
    written: pd.DataFrame
    withheld: pd.DataFrame
    events: pd.DataFrame
    actions: pd.DataFrame

    @classmethod
    def of(cls, run: Run, journal: Journal) -> "Truth":
        """Join a run and the journal of the server that it was run against.

        Raises:
            ValueError: the run has no measure phase, or the journal is of another run.
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
        """Return one row a delivery that both sides have: first to first, second to second."""
        return self.received.merge(
            self.written[[*_PAIR, "copy", "decided_ns", "due_ns", "written_ns", "action"]],
            on=[*_PAIR, "copy"],
            how="inner",
            validate="one_to_one",
        )


def reordered(rows: pd.DataFrame) -> set[tuple[int, int, int]]:
    """Return the pairs that came, or were written, after a later event of their publisher to their subscription.

    Counted from the rows in their order, not as `analysis.ledger.reconcile` does: so the two check each other.
    """
    first = rows[rows["copy"] == 0]
    highest = first.groupby(["publisher", "subscription"], sort=False)["sequence"].cummax()
    return pairs(first[first["sequence"] < highest])


def pairs(rows: pd.DataFrame) -> set[tuple[int, int, int]]:
    """Return the (publisher, sequence, subscription) of rows."""
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
    """Return the journal's deliveries with the harness's subscription number in place of the server's own."""
    known: dict[int, Any] = {}
    for row in journal.subscriptions.select(["subscription", "id"]).to_pylist():
        known[row["subscription"]] = int(row["id"][1:]) if row["id"][1:].isdecimal() else -1
    table = journal.deliveries
    frame: pd.DataFrame = table.drop_columns(["written_ns"]).to_pandas()
    # Nullable: a nanosecond count does not survive the detour over floats.
    frame["written_ns"] = pd.array(table.column("written_ns").to_pylist(), dtype="Int64")
    frame["place"] = np.arange(len(frame))
    frame["subscription"] = frame["subscription"].map(known).astype(np.int64)
    return frame
