"""Test figures by remote address with synthetic runs."""

from pathlib import Path

from analysis.figures import addresses
from analysis.loading.run import load
from analysis.summary import summarise
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)

A, B, C = "192.0.2.1:443", "192.0.2.2:443", "[2001:db8::1]:443"


def three_addresses(folder: Path) -> Path:
    """Write a run with three remote addresses.

    Client 1 is at A. Client 2 is at B, and after 500 ms at A. Publishes go to A and C. One attempt to connect
    to C fails.
    """
    zero = T0 + SECOND
    events = [
        event(9, n, "/a", n * 100 * MS, remote_address=A if n % 2 else C, connection_wait_ns=n * MS)
        for n in range(10)
    ]
    events = [{**each, "slot_ns": each["sent_ns"] - each["connection_wait_ns"] - 1_000} for each in events]
    events.append(
        event(
            9, 10, "/a", 990 * MS, "error", sent_ns=None, acked_ns=None, connection_wait_ns=SECOND,
            error="x: Connection refused",
        )
    )  # fmt: skip
    return write_run(
        folder,
        {
            "events": events,
            "subscriptions": [
                subscription(1, "/a", -MS),
                subscription(2, "/a", -MS, 450 * MS),
                subscription(2, "/a", 500 * MS, life=1),
            ],
            "connections": [
                connection(1, opened_ns=T0 + 1 * MS, remote_address=A),
                connection(2, opened_ns=T0 + 20 * MS, remote_address=B, error="closed", closed_ns=zero + 450 * MS),
                connection(
                    2, 1, started_ns=zero + 480 * MS, opened_ns=zero + 483 * MS,
                    acknowledged_ns=zero + 484 * MS, remote_address=A,
                ),
                connection(3, started_ns=T0, acknowledged_ns=None, error="refused", remote_address=C),
            ],
            "deliveries": [
                delivery(each, number, (1 if number == 1 or n >= 5 else 20) * MS)
                for n, each in enumerate(events[:10])
                for number in (1, 2)
            ],
        },
        workers=[
            {
                "worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": True,
                "network": {f"{B} of x does not answer within 250 ms": 1},
            }
        ],
    )  # fmt: skip


def test_each_address_has_its_connections_deliveries_and_publishes(tmp_path: Path) -> None:
    found = summarise(load(three_addresses(tmp_path / "run")))["addresses"]
    assert found["count"] == 3
    by_address = {entry["address"]: entry for entry in found["each"]}
    a, b, c = by_address[A], by_address[B], by_address[C]
    assert [(each["connections"], each["errors"]) for each in (a, b, c)] == [(2, 0), (1, 1), (1, 1)]
    assert (a["connect_ns"]["p50"], a["connect_ns"]["max"]) == (1 * MS, 3 * MS)
    assert b["connect_ns"]["p50"] == 20 * MS
    assert c["connect_ns"]["count"] == 0
    # Address A has ten deliveries of client 1, and five of client 2 after its reconnect to A.
    assert (a["headline_ns"]["count"], a["headline_ns"]["max"]) == (15, 1 * MS)
    assert (b["headline_ns"]["count"], b["headline_ns"]["min"]) == (5, 20 * MS)
    assert c["headline_ns"]["count"] == 0
    assert a["service_ns"]["p50"] == 1 * MS - 1_000
    assert [(each["requests"], each["request_errors"]) for each in (a, b, c)] == [(5, 0), (0, 0), (5, 0)]
    assert c["answer_ns"]["p50"] == 1 * MS - 1_000
    assert len(addresses.rows(found)) == 3
    assert all(len(row) == len(addresses.COLUMNS) for row in addresses.rows(found))


def test_the_wait_for_a_connection_is_neither_ours_nor_the_services(tmp_path: Path) -> None:
    publish = summarise(load(three_addresses(tmp_path / "run")))["publish"]
    assert publish["own_lateness_ns"]["max"] == 1_000
    assert publish["connection_wait_ns"]["count"] == 11
    assert publish["connection_wait_ns"]["max"] == SECOND
    assert publish["answer_ns"]["count"] == 10


def test_with_one_address_nothing_is_compared_and_an_older_record_says_nothing(tmp_path: Path) -> None:
    one = write_run(
        tmp_path / "one",
        {
            "events": [event(1, 0, "/a", 0)],
            "connections": [connection(1, opened_ns=T0 + 1, remote_address=A)],
        },
    )
    found = summarise(load(one))["addresses"]
    assert (found["count"], found["each"][0]["headline_ns"]) == (1, None)
    assert addresses.rows(found) == []
    older = summarise(load(simple_run(tmp_path / "older")))
    assert older["addresses"] is None
    assert addresses.rows(None) == []
    assert older["publish"]["connection_wait_ns"]["count"] == 0
    assert older["publish"]["own_lateness_ns"]["max"] == 1_000
