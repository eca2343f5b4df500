"""Test reading service files: packaged ones, a user's files that replace them, and messages about mistakes."""

from pathlib import Path

import pytest

from loadgen.config.problems import ScenarioError
from loadgen.planning.prices import PACKAGED, Countings
from loadgen.planning.services.files import FOLDER, NAMES, chosen, packaged, read_service, services
from loadgen.planning.services.models import Fact, Line, exact

IOT = FOLDER / "aws-iot-core.yaml"


def test_every_packaged_file_is_a_service_and_every_service_has_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)
    for name in NAMES:
        assert packaged(name).service == name


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_a_source_and_a_certainty(name: str) -> None:
    service = packaged(name)
    plans = [plan for choice in service.plans.values() for plan in choice.choices]
    facts: list[Fact] = [*service.prices.values(), *service.quotas.values(), *plans]
    assert facts
    for fact in facts:
        assert fact.source
        assert fact.certainty
    # Each price is used by a line of the bill or by a capacity, and each line, plan and capacity by an offer.
    used = {line.price for line in service.lines.values()} | {
        each.price for each in service.capacities.values()
    }
    assert used == set(service.prices)
    lines = {name for offer in service.offers.values() for name in offer.lines}
    assert lines == {*service.lines, *service.plans, *service.capacities}


def test_prices_and_quotas_of_appsync_events_are_those_of_its_own_file() -> None:
    from loadgen.planning.prices import load_prices

    prices, service = load_prices(), packaged("appsync-events")
    assert service.prices["operation"].usd == prices.prices.usd_per_million_operations.value
    assert service.prices["operation"].source == prices.prices.usd_per_million_operations.source
    for name, limit in service.quotas.items():
        assert limit.value == getattr(prices.quotas, name).value, name
    operations = service.lines["operations"]
    assert len(operations.counts) == len(Countings.model_fields)
    assert [term.quantity for term in operations.counts if term.unclear] == ["connection_minute"]


def test_a_number_is_exact_as_it_is_written() -> None:
    # The float 0.1 is slightly more than 1/10.
    assert exact(0.1) * 10 == 1
    assert exact(0.0000133334) * 10**10 == 133_334


MISTAKES = [
    ("price: message\n", "price: mesage\n", "lines.messages_qos0.price is 'mesage', which is not among the"),
    ("[messages_qos0, connection_minutes", "[messages_qos0, minutes", "offers.qos0.lines.1 is"),
    ("      - {usd: 0.70}\n", "", "prices.message needs tiers in rising order of up_to, and a last one without up_to"),
    ("up_to: 5000000000,", "up_to: 500,", "prices.message needs tiers in rising order"),
    ("usd: 0.08", "usd: -1", "prices.connection_minute.usd must be at least 0"),
    ("usd: 0.08", "usd: cheap", "prices.connection_minute.usd must be a number, not 'cheap'"),
    ("{quantity: connect}", "{quantity: handshake}", "lines.messages_qos0.counts.2.quantity must be"),
    ("{quantity: connect}", "{quantity: connect, unit_bytes: 5}", "counts.2 has unit_bytes, which only"),
    ("    min: 500\n", "", "quotas.new_connections_per_s needs value alone, or min and max"),
    ("    min: 500\n", "    min: 5000\n", "quotas.new_connections_per_s has a min above its max"),
    ("  subscribes_per_s:", "  subscribes_per_minute:", "quotas.subscribes_per_minute"),
    ("version: 1", "version: 3", "version must be 1, not 3"),
    ("certainty: secondary\n    note", "certainty: likely\n    note", "prices.message.certainty must be"),
    ("unclear: no source says", "uncleer: no source says", "is not a known key; did you mean 'unclear'?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = IOT.read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        read_service(path)
    (problem,) = caught.value.problems
    assert sentence in problem
    place, _, _ = problem.partition(": ")
    name, _, line = place.rpartition(":")
    assert name == str(path)
    # The message names the line of the mistake, or of the part that contains it.
    lines = path.read_text().splitlines()
    key = problem.split(": ", 1)[1].split(" ")[0].split(".")[-1]
    assert 1 <= int(line) <= len(lines)
    assert key.isdigit() or key in lines[int(line) - 1]


def test_an_own_file_replaces_a_service_or_adds_one(tmp_path: Path) -> None:
    mine = tmp_path / "iot.yaml"
    mine.write_text(IOT.read_text().replace("region: us-east-1", "region: eu-west-1"))
    new = tmp_path / "broker.yaml"
    new.write_text(IOT.read_text().replace("service: aws-iot-core", "service: my-broker"))
    known = services([mine, new])
    assert list(known) == [*NAMES, "my-broker"]
    assert known["aws-iot-core"].region == "eu-west-1"
    assert isinstance(known["my-broker"].line("messages_qos1"), Line)
    with pytest.raises(ScenarioError, match=r"is for aws-iot-core, as .*iot.yaml is; give only one"):
        services([mine, mine])


def test_a_price_file_of_appsync_events_and_a_service_file_are_told_apart(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(PACKAGED.read_text().replace("region: eu-west-1", "region: ap-south-1"))
    assert services([prices])["appsync-events"].region == "ap-south-1"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nkind: service\n")
    with pytest.raises(ScenarioError, match="offers"):
        services([wrong])
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        services([tmp_path / "none.yaml"])


def test_services_are_chosen_by_name_and_offer() -> None:
    known = services()
    assert [(s.service, o) for s, o in chosen("ably:mau, aws-iot-core,ably:mau", known)] == [
        ("ably", "mau"),
        ("aws-iot-core", "qos0"),
        ("aws-iot-core", "qos1"),
    ]
    assert {s.service for s, _ in chosen("all", known)} == set(NAMES)
    for wrong, sentence in (
        ("abbly", "there is no service 'abbly'; did you mean 'ably'?"),
        ("ably:maus", "ably has no offer 'maus'; did you mean 'mau'?"),
        ("", "there is no service ''"),
        ("all:x", "there is no service 'all'"),
    ):
        with pytest.raises(ScenarioError) as caught:
            chosen(wrong, known)
        assert sentence in str(caught.value)
