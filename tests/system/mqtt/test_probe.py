"""Test the probe of a broker over WebSocket: a deep wildcard, and a password that must be checked."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.harness import free_port
from tests.system.here import here
from tests.system.mqtt.broker import add_user, mosquitto

USER, PASSWORD = "tester", "correct horse"
AUTH = ("--auth", "password:MQTT_USER:MQTT_PASSWORD")
ENV = {"MQTT_USER": USER, "MQTT_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a broker with two WebSocket listeners: one checks the password, the other accepts everybody."""
    folder = tmp_path_factory.mktemp("mosquitto")
    add_user(folder / "passwords", USER, PASSWORD)
    settings = {
        "strict": ["allow_anonymous false", f"password_file {folder}/passwords"],
        "open": ["allow_anonymous true"],
    }
    ports = {name: free_port() for name in settings}
    # mosquitto 2.0 does not start if all its listeners are for WebSocket, so add another one.
    lines = ["per_listener_settings true", f"listener {free_port()} 127.0.0.1", "allow_anonymous false"]
    for name, its in settings.items():
        lines += [f"listener {ports[name]} 127.0.0.1", "protocol websockets", *its]
    with mosquitto(folder, lines, ports.values()):
        yield {name: f"mqtt+ws://127.0.0.1:{port}" for name, port in ports.items()}


def probed(url: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    done = here("probe", "--json", "--target", url, *arguments, env=ENV)
    return done.code, {row["name"]: row for row in map(json.loads, done.out.splitlines())}, done.said


def test_a_password_is_checked_and_a_wildcard_is_deep(broker: dict[str, str]) -> None:
    code, steps, said = probed(broker["strict"], *AUTH)
    assert code == 0, said
    assert steps["deep wildcard"]["detail"] == "/default/* gets events two levels below"
    assert steps["wrong login"]["ok"], said
    assert steps["wrong login"]["detail"].startswith("refused: ")
    assert PASSWORD not in said


def test_a_broker_that_lets_everybody_in_is_found(broker: dict[str, str]) -> None:
    code, steps, said = probed(broker["open"], *AUTH)
    assert code == 4, said
    assert [name for name, step in steps.items() if step["ok"] is False] == ["wrong login"]
    assert "a made-up login may connect" in steps["wrong login"]["detail"]


def test_without_a_login_there_is_none_to_check(broker: dict[str, str]) -> None:
    code, steps, said = probed(broker["open"])
    assert code == 0, said
    assert (steps["wrong login"]["ok"], steps["wrong login"]["detail"]) == (
        None,
        "skipped: the target is used without a login",
    )
