"""Test the probe of a broker over WebSocket: a wildcard over several levels, and a password that must be checked."""

import json
import subprocess
import time
from collections.abc import Iterator
from getpass import getuser
from typing import Any

import pytest

from tests.programs import require
from tests.system.harness import free_port
from tests.system.here import here

USER, PASSWORD = "tester", "correct horse"
AUTH = ("--auth", "password:MQTT_USER:MQTT_PASSWORD")
ENV = {"MQTT_USER": USER, "MQTT_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker with two listeners over WebSocket: one checks the password, the other lets everybody in."""
    folder = tmp_path_factory.mktemp("mosquitto")
    subprocess.run(
        [require("mosquitto_passwd"), "-b", "-c", str(folder / "passwords"), USER, PASSWORD],
        check=True,
        capture_output=True,
    )
    settings = {
        "strict": f"allow_anonymous false\npassword_file {folder}/passwords\n",
        "open": "allow_anonymous true\n",
    }
    ports = {name: free_port() for name in settings}
    lines = f"per_listener_settings true\nuser {getuser()}\npersistence false\n"
    # mosquitto 2.0 does not start with listeners over WebSocket alone.
    lines += f"listener {free_port()} 127.0.0.1\nallow_anonymous false\n"
    for name, its in settings.items():
        lines += f"listener {ports[name]} 127.0.0.1\nprotocol websockets\n{its}"
    (folder / "mosquitto.conf").write_text(lines)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [require("mosquitto"), "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline_s = time.monotonic() + 60
        while "running" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield {name: f"mqtt+ws://127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait(10)


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
