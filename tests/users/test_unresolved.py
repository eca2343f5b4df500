"""Test a client whose machine cannot resolve the target: this is a failure of ours, not of the service."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.measure.failures import NETWORK, Failures
from loadgen.measure.rows import ConnectionRow
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.transport.resolving import Resolver, UnresolvedError
from loadgen.users.connection import ClientConnection
from loadgen.users.reconnect import HARNESS_FAILURE
from loadgen.users.worker import NoLogins, Progress
from tests.transport.test_resolving import NameServer, entries


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_connect_that_is_not_tried_is_a_failure_of_this_machine(elsewhere: bool, tmp_path: Path) -> None:
    server = NameServer()
    if elsewhere:
        server.says = lambda: entries("192.0.2.1")
    else:
        server.fails(socket.gaierror(-3, "Temporary failure in name resolution"))
    failures = Failures()
    dialer = Dialer(
        resolver=Resolver(server), on_failed=lambda error: failures.add(NETWORK, "connecting", error)
    )
    service = AppSyncEvents(Endpoints.from_url("http://name.test/event"), ApiKey("k"))
    rows: list[ConnectionRow] = []
    subscriptions: list[Any] = []
    run: Any = SimpleNamespace(
        stamping=Stamping(),
        recorder=SimpleNamespace(
            connection=rows.append, subscription=subscriptions.append, deliver=None, native_rows=None
        ),
        service=service,
        logins=NoLogins(service),
        address=Address(service.connect_url, service.tls, dialer),
        readiness=SimpleNamespace(probed_since_ns=lambda channel: None),
        progress=Progress(),
        failures=failures,
    )
    plan = ClientPlan(1, "g", 0, (SubscriptionPlan(1, "/default/a"),), None, 0)
    with pytest.raises(
        Exception, match="no loopback address" if elsewhere else "cannot be resolved"
    ) as raised:
        ClientConnection(run, plan).open(1.0)
    assert isinstance(raised.value, UnresolvedError) is not elsewhere
    (row,) = rows
    assert (row.intent, row.error, row.opened_ns, row.remote_address) == (HARNESS_FAILURE, None, None, None)
    assert [each.intent for each in subscriptions] == [HARNESS_FAILURE]
    (failure,) = failures.to_list()
    assert (failure["kind"], failure["count"]) == ("network", 1)
    assert run.progress.lost_connections == 0
