"""Figures by remote address: one host name may stand for many machines, each with its own response times."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from analysis import text
from analysis.figures.latencies import SECOND_NS
from analysis.figures.percentiles import Percentiles
from analysis.figures.samples import Samples
from analysis.loading import requests
from analysis.loading.pieces import in_windows
from analysis.loading.room import Kept, Room
from analysis.loading.run import Ints, Run, Window, codes, ints
from analysis.loading.slices import cut_by_second, stretches

#: Maximum number of addresses reported: those with the most connections and publish requests in total.
MOST: Final = 50
#: Bits of a key that hold a time in microseconds (twelve days); the bits above hold the client's number.
_TIME_BITS: Final = 40
COLUMNS: Final = (
    "address", "connects", "errors", "connect p50", "connect p99", "deliveries", "fan-out p50", "fan-out p99",
    "publishes", "publish errors", "answer p50", "answer p99",
)  # fmt: skip


def summarise(run: Run, window: Window | None) -> dict[str, Any] | None:
    """Return the summary's `addresses`, or None if the run's record holds no remote addresses.

    Connections are counted in all phases, deliveries and publish requests in the measure phase only.
    """
    lives = _Lives(run)
    publishes = _Publishes(run, window)
    numbers = {
        name: lives.counts.get(name, 0) + publishes.counts.get(name, 0)
        for name in {*lives.counts, *publishes.counts}
    }
    if not numbers:
        return None
    ordered = sorted(numbers, key=lambda name: (-numbers[name], name))
    # Leave out the delivery latencies of a single address: they are those of the whole run, which are reported
    # elsewhere.
    several = len(ordered) > 1
    latencies = _deliveries(run, window, lives, ordered[:MOST]) if several and window is not None else {}
    return {
        "count": len(ordered),
        "each": [
            {
                "address": name,
                **lives.figures(name),
                "headline_ns": _percentiles(latencies.get((name, "headline"))) if several else None,
                "service_ns": _percentiles(latencies.get((name, "service"))) if several else None,
                **publishes.figures(name),
            }
            for name in ordered[:MOST]
        ],
    }


def rows(found: dict[str, Any] | None) -> list[tuple[str, ...]]:
    """Return the rows of the table with columns `COLUMNS`, or an empty list if there are fewer than two addresses."""
    if found is None or found["count"] < 2:
        return []
    return [
        (
            text.clean(entry["address"]),
            text.count(entry["connections"]),
            text.count(entry["errors"]),
            text.duration(entry["connect_ns"]["p50"]),
            text.duration(entry["connect_ns"]["p99"]),
            text.count(None if entry["headline_ns"] is None else entry["headline_ns"]["count"]),
            *(text.duration((entry["headline_ns"] or {}).get(name)) for name in ("p50", "p99")),
            text.count(entry["requests"]),
            text.count(entry["request_errors"]),
            text.duration(entry["answer_ns"]["p50"]),
            text.duration(entry["answer_ns"]["p99"]),
        )
        for entry in found["each"]
    ]


class _Lives:
    """The connections by remote address; each reconnect of a client begins a new life of its connection."""

    def __init__(self, run: Run) -> None:
        names = ("connection", "started_ns", "opened_ns", "acknowledged_ns", "error", "remote_address")
        table = run.table("connections", names)
        self._connection, self._started_ns = ints(table, "connection"), ints(table, "started_ns")
        self._opened_ns = ints(table, "opened_ns")
        self._code, self.names = codes(table, "remote_address")
        error, errors = codes(table, "error")
        self._failed = np.array([name is not None for name in errors], dtype=bool)[error]
        self.counts = _counts(self._code, self.names)
        # Sorted keys (client, start of the connection), to find the connection that carried a delivery.
        self._clients = np.unique(self._connection)
        self._begin_ns = int(self._started_ns.min()) if len(self._started_ns) else 0
        key = self._key(self._connection, self._started_ns)
        order = np.argsort(key, kind="stable")
        self._ordered_key, self._ordered_code = key[order], self._code[order]

    def figures(self, name: str) -> dict[str, Any]:
        """Return the figures of the connections to an address."""
        its = self._code == self.names.index(name) if name in self.names else np.zeros(len(self._code), bool)
        opened = its & (self._opened_ns >= 0)
        return {
            "connections": int(np.count_nonzero(its)),
            "errors": int(np.count_nonzero(its & self._failed)),
            "connect_ns": Percentiles.of((self._opened_ns - self._started_ns)[opened]).to_dict(),
        }

    def code_of(self, connection: Ints, at_ns: Ints) -> Ints:
        """Return each client's remote address at ``at_ns`` as an index into `names`, or -1 before the first connect."""
        if not len(self._clients):
            return np.full(len(connection), -1, dtype=np.int64)
        place = np.searchsorted(self._ordered_key, self._key(connection, at_ns), side="right") - 1
        found = self._ordered_key[np.maximum(place, 0)] >> _TIME_BITS
        its = (place >= 0) & (found == np.searchsorted(self._clients, connection))
        return np.where(its, self._ordered_code[np.maximum(place, 0)], -1)

    def _key(self, connection: Ints, at_ns: Ints) -> Ints:
        us = np.clip((at_ns - self._begin_ns) // 1000, 0, (1 << _TIME_BITS) - 1)
        key: Ints = (np.searchsorted(self._clients, connection).astype(np.int64) << _TIME_BITS) | us
        return key


class _Publishes:
    """The publish requests of the measure phase by remote address."""

    def __init__(self, run: Run, window: Window | None) -> None:
        self._room = Room()
        #: A dict for each slice of the measure phase, with arrays over its requests: the address as an index into
        #: `_names`, the response time (ns), 1 if it was answered, and 1 if it failed.
        self._kept: list[dict[str, Kept]] = []
        self._names: list[str | None] = []
        self.counts: dict[str, int] = {}
        if window is None or run.lacks("remote_address"):
            return
        number: dict[str | None, int] = {}
        columns = (*requests.COLUMNS, "sent_ns", "acked_ns", "remote_address")
        for stretch in stretches(run, window):
            table = run.table("events", columns, stretch)
            rows = requests.request_rows(table)
            sent_ns, acked_ns = ints(table, "sent_ns")[rows], ints(table, "acked_ns")[rows]
            code, names = codes(table, "remote_address")
            known = np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)
            code = known[code[rows]] if len(names) else code[rows]
            status, statuses = codes(table, "status")
            wrong = np.array([name in ("error", "rejected", "unanswered") for name in statuses], dtype=bool)
            self._kept.append(
                self._room.put_all(
                    {
                        "code": code,
                        "took_ns": acked_ns - sent_ns,
                        "answered": ((acked_ns >= 0) & (sent_ns >= 0)).astype(np.int64),
                        "failed": wrong[status][rows].astype(np.int64),
                    }
                )
            )
            for name, count in _counts(code, list(number)).items():
                self.counts[name] = self.counts.get(name, 0) + count
        self._names = list(number)

    def figures(self, name: str) -> dict[str, Any]:
        """Return the figures of the publish requests to an address."""
        code = self._names.index(name) if name in self._names else -1
        count = failed = 0
        took_ns = Samples()
        for kept in self._kept:
            at = self._room.get_all(kept)
            its = at["code"] == code
            count += int(np.count_nonzero(its))
            failed += int(np.count_nonzero(its & (at["failed"] > 0)))
            took_ns.add(at["took_ns"][its & (at["answered"] > 0)])
        return {"requests": count, "request_errors": failed, "answer_ns": took_ns.percentiles().to_dict()}


def _counts(code: Ints, names: list[str | None]) -> dict[str, int]:
    counts = np.bincount(code, minlength=len(names))
    return {
        name: int(number) for name, number in zip(names, counts, strict=True) if name is not None and number
    }


def _deliveries(
    run: Run, window: Window, lives: _Lives, addresses: list[str]
) -> dict[tuple[str, str], Samples]:
    """Return latencies (ns) by (address, "headline" or "service"); reads the deliveries in parts to bound memory."""
    table = run.table("subscriptions", ("subscription", "connection"))
    subscriptions, first = np.unique(ints(table, "subscription"), return_index=True)
    carrier = ints(table, "connection")[first]
    room = Room()
    found = {(name, kind): Samples(room) for name in addresses for kind in ("headline", "service")}
    if not len(subscriptions):
        return {}
    names = ("subscription", "intended_ns", "sent_ns", "arrival_ns")

    def read(_: Window, __: Ints, at: Mapping[str, Ints]) -> list[tuple[str, str, Ints]]:
        place = np.minimum(np.searchsorted(subscriptions, at["subscription"]), len(subscriptions) - 1)
        known = subscriptions[place] == at["subscription"]
        code = np.where(known, lives.code_of(carrier[place], at["arrival_ns"]), -1)
        pieces = []
        for name in addresses:
            its = code == (lives.names.index(name) if name in lives.names else -2)
            pieces.append((name, "headline", (at["arrival_ns"] - at["intended_ns"])[its]))
            its &= at["sent_ns"] >= 0
            pieces.append((name, "service", (at["arrival_ns"] - at["sent_ns"])[its]))
        return pieces

    cuts = cut_by_second(run, window.start_ns, (window.start_ns, window.end_ns), SECOND_NS)
    inside = [cut for cut in cuts if window.start_ns <= cut.start_ns < window.end_ns]
    for pieces in in_windows(run, names, inside, read):
        for name, kind, values in pieces:
            found[name, kind].add(values)
    return found


def _percentiles(samples: Samples | None) -> dict[str, Any]:
    return (Percentiles(0, 0) if samples is None else samples.percentiles()).to_dict()
