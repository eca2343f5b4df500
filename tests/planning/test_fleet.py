"""Test the machines that a scenario needs, against figures computed by hand."""

from dataclasses import replace
from functools import cache

import pytest

from loadgen.measure.stamp import encode_event
from loadgen.planning import fleet as fleets
from loadgen.planning.calibration import Calibration, Seen, calibrated
from loadgen.planning.estimate import Estimate, estimate
from loadgen.planning.fleet import Asked, Fleet, Machines, fleet
from loadgen.planning.prices import load_prices
from loadgen.planning.show import markdown
from loadgen.protocol.appsync.messages import data_head, data_tail
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve

#: Round figures, so that the results can be computed in one's head.
KEPT = Calibration(
    measured_at="2026-01-01T00:00:00+00:00",
    machine={"hostname": "bench"},
    cpu_s_per_delivery=10e-6,
    cpu_s_per_http_publish=100e-6,
    cpu_s_per_websocket_publish=20e-6,
    idle_cpu_share=0.1,
    base_rss_bytes=100e6,
    rss_bytes_per_subscriber=10e3,
    deliveries_per_s=10_000.0,
    cpu_s_per_connect=1e-3,
    connects_per_s=500.0,
    record_bytes_per_delivery=30.0,
)
MACHINE = Machines(cpus=4, memory_bytes=8e9, usd_per_hour=0.2)
PORTS = 28_232


@cache
def a_million() -> Estimate:
    scenario = load(
        "broadcast",
        {
            "clients.audience.count": "1000000",
            "clients.audience.ramp": "5000/s",
            "clients.announcer.publish.rate": "1/s",
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.planning.fleet.local_ports", lambda: PORTS)
        return estimate(resolve(scenario), load_prices(), frozenset(), KEPT, "", None, MACHINE)


def with_others(machines: Machines = MACHINE, kept: Calibration | None = KEPT) -> Fleet:
    """Return the fleet for the load of `a_million` on given machines, or without a calibration if ``kept`` is None."""
    plan = a_million()
    needs = plan.needs if kept is not None else replace(plan.needs, processes=None)
    asked = Asked(needs, 1_000_000, 5_000.0, 200.0, 1e6, 1e6, 200.0, 2_000.0)
    return fleet(asked, kept, machines)


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "local_ports", lambda: PORTS)


def test_a_million_subscribers_are_reckoned_from_what_one_worker_was_measured_to_need() -> None:
    found = a_million().fleet
    # 1,000,000 deliveries/s × 10 µs = 10 CPU-s per second. A worker has 0.6 − 0.1 = 0.5 of a core, so 20 workers would
    # just do; the announcer's publish adds 0.1 ms of CPU time per second, which takes another worker.
    assert found.workers_for_load == 21
    # The scenario asks for 5,000 connects/s, but the service's quota allows 2,000/s. These 2,000 take 2 CPU-s per
    # second.
    assert (found.connects_per_s, found.connect_s, found.workers_for_connects) == (2_000, 500, 4)
    # Reading one event to all clients takes 10 CPU-s, so to read it within 0.1 s takes 100 workers.
    assert found.workers_for_bursts == found.workers == 100
    assert found.burst_s == pytest.approx(0.1)
    # 100 × 100 MB + 1,000,000 × 10 KB = 20 GB, of which a machine has room for 6.4 GB. A machine has CPUs for 4 of the
    # 100 workers.
    assert found.rss_bytes == 20e9
    assert (found.machines_for_memory, found.machines_for_workers, found.machines_needed) == (4, 25, 25)
    assert (found.connections_per_machine, found.source_addresses) == (40_000, 2)
    assert found.open_files == 10_000 + 64
    assert found.record_bytes_per_s == pytest.approx(30e6, rel=1e-3)
    assert found.bits_in_per_s == pytest.approx(1e6 * (200 + fleets.FRAME_BYTES) * 8, rel=1e-3)
    # The master runs on a separate machine.
    assert found.usd_per_hour == pytest.approx(26 * 0.2)


def test_more_memory_more_cores_or_more_addresses_of_the_target_take_fewer_machines_or_addresses() -> None:
    assert with_others(replace(MACHINE, cpus=50)).machines_needed == 4  # memory binds
    assert with_others(replace(MACHINE, cpus=50, memory_bytes=64e9)).machines_needed == 2
    assert with_others(replace(MACHINE, target_addresses=2)).source_addresses == 1


def test_what_is_not_measured_is_unknown_and_says_how_to_know_it() -> None:
    found = with_others(kept=None)
    assert found.workers is found.machines_needed is found.rss_bytes is found.usd_per_hour is None
    assert found.connect_s == 500
    shown = {line.name: line for line in found.lines}
    assert shown["workers"].shown == "–"
    assert "loadgen plan --calibrate" in shown["workers"].basis


def test_every_figure_says_what_it_follows_from() -> None:
    plan = a_million()
    page = markdown(plan)
    for line in plan.fleet.lines:
        assert line.basis
        assert f"| {line.name} |" in page
    assert sum("measured on bench, 2026-01-01T00:00:00+00:00" in line.basis for line in plan.fleet.lines) >= 3
    assert plan.to_dict()["fleet"]["workers"] == 100
    assert with_others().workers == 100


def test_connecting_and_the_record_are_measured_between_few_and_many_subscribers() -> None:
    few = Seen(
        4.0, 0.5, 4_000, 40, 150_000_000, ramp_cpu_s=0.5, ramp_s=1.0, spool_bytes=200_000, recorded=5_000
    )
    many = Seen(
        4.0, 2.0, 40_000, 40, 180_000_000, ramp_cpu_s=1.4, ramp_s=2.5, spool_bytes=1_550_000, recorded=50_000
    )
    publishing = Seen(4.0, 1.0, 0, 4_000, 150_000_000)
    found = calibrated(
        {
            "few subscribers": few,
            "many subscribers": many,
            "publishes by HTTP": publishing,
            "publishes over WebSocket": publishing,
        }
    )
    assert found.cpu_s_per_connect == pytest.approx(1e-3)
    assert found.connects_per_s == pytest.approx(400)
    assert found.record_bytes_per_delivery == pytest.approx(30)


def test_what_a_delivery_is_on_the_wire_beside_its_payload() -> None:
    event = encode_event(2**31 - 1, 7, 1_000, 1_790_000_000_000_000_000, 1_790_000_000_000_000_001, 200)
    message = data_head("0" * 36) + data_tail(event)
    websocket, ethernet_ip_tcp = 4, 14 + 20 + 32
    assert len(message) + websocket + ethernet_ip_tcp - 200 == fleets.FRAME_BYTES
