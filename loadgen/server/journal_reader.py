"""Reading a journal."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from loadgen.measure.spool import read_batches
from loadgen.server.journal import SCHEMAS


@dataclass(frozen=True)
class Journal:
    """The tables of a journal's folder; see README.md for the columns."""

    settings: dict[str, Any]
    events: pa.Table
    #: One row a subscription: the last one written of each.
    subscriptions: pa.Table
    #: In the order in which the server decided on what it never wrote, and wrote what it wrote.
    deliveries: pa.Table
    actions: pa.Table

    @classmethod
    def load(cls, folder: Path) -> "Journal":
        """Read a folder; tables end with their last whole batch.

        Raises:
            OSError: there is none.
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
