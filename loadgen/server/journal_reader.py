"""Read the journal of a server: its own record of events, subscriptions, deliveries and injected faults."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from loadgen.measure.spool import read_batches
from loadgen.server.journal import SCHEMAS


@dataclass(frozen=True)
class Journal:
    """The tables of a journal; README.md documents the columns."""

    settings: dict[str, Any]
    events: pa.Table
    #: The current state of each subscription: of all rows written for it, only the last.
    subscriptions: pa.Table
    #: Rows are in the order of recording; a delivery is recorded when it is written to the socket or given up.
    deliveries: pa.Table
    actions: pa.Table

    @classmethod
    def load(cls, folder: Path) -> "Journal":
        """Read the journal in a folder, each table up to its last whole batch.

        Raises:
            OSError: the folder holds no journal.
        """
        tables = {
            name: pa.Table.from_batches(read_batches(folder / f"{name}.arrows"), schema=schema)
            for name, schema in SCHEMAS.items()
        }
        subscriptions = {row["subscription"]: row for row in tables["subscriptions"].to_pylist()}
        tables["subscriptions"] = pa.Table.from_pylist(
            list(subscriptions.values()), schema=SCHEMAS["subscriptions"]
        )
        return cls(json.loads((folder / "settings.json").read_text()), **tables)
