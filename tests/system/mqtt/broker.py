"""Run a real broker for tests: mosquitto on free loopback ports, with a separate folder and configuration."""

import getpass
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mqtt5
import trustme

from tests.programs import require
from tests.system.harness import STUCK_S, free_port

USER, PASSWORD = "tester", "correct horse"


@dataclass(frozen=True)
class Broker:
    """URLs of a broker's listeners; clients trust ``ca``, and may log in with ``certificate`` and ``key``."""

    tcp: str
    tls: str
    websocket: str
    secure_websocket: str
    with_password: str
    with_certificate: str
    ca: Path
    certificate: Path
    key: Path


@contextmanager
def running(folder: Path) -> Iterator[Broker]:
    """Run a Mosquitto broker with six listeners: TCP and WebSocket, each with and without TLS, and two with logins."""
    require("mosquitto")
    authority = trustme.CA()
    served = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client.test")
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("server.pem", served.cert_chain_pems[0]),
        ("server.key", served.private_key_pem),
        ("client.pem", client.cert_chain_pems[0]),
        ("client.key", client.private_key_pem),
    ):
        blob.write_to_path(folder / name)
    add_user(folder / "passwords", USER, PASSWORD)
    tls = [f"cafile {folder}/ca.pem", f"certfile {folder}/server.pem", f"keyfile {folder}/server.key"]
    open_to_all, websocket = "allow_anonymous true", "protocol websockets"
    listeners = [
        [open_to_all],
        [open_to_all, *tls],
        [open_to_all, websocket],
        [open_to_all, websocket, *tls],
        ["allow_anonymous false", f"password_file {folder}/passwords"],
        [open_to_all, *tls, "require_certificate true"],
    ]
    ports = [free_port() for _ in listeners]
    lines = ["per_listener_settings true"]
    for port, settings in zip(ports, listeners, strict=True):
        lines += [f"listener {port} 127.0.0.1", *settings]
    with mosquitto(folder, lines, ports):
        schemes = ("mqtt", "mqtts", "mqtt+ws", "mqtt+wss", "mqtt", "mqtts")
        tcp, tls_, websocket_, secure, password, certificate = (
            f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(schemes, ports, strict=True)
        )
        yield Broker(
            *(tcp, tls_, websocket_, secure, password, certificate),
            folder / "ca.pem",
            folder / "client.pem",
            folder / "client.key",
        )


@contextmanager
def mosquitto(folder: Path, lines: Iterable[str], ports: Iterable[int]) -> Iterator[None]:
    """Run mosquitto during a `with` block, which begins once mosquitto listens at ``ports``.

    ``lines`` are the lines of its configuration.
    """
    common = (f"user {getpass.getuser()}", "persistence false")
    (folder / "mosquitto.conf").write_text("\n".join((*common, *lines)) + "\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [require("mosquitto"), "-c", str(folder / "mosquitto.conf")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for port in ports:
            _wait_for(port, process, folder / "log")
        yield
    finally:
        process.terminate()
        process.wait(STUCK_S)


def retained(url: str, topic: str) -> str:
    """Return the retained message of a topic, as text: mosquitto has its statistics below ``$SYS``.

    Waits for the next message if the topic has none yet.
    """
    _, port = url.removeprefix("mqtt://").split(":")
    with socket.create_connection(("127.0.0.1", int(port)), STUCK_S) as connection:
        connection.sendall(mqtt5.ConnectPacket(client_id="statistics").write())
        connection.sendall(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(topic)]).write())
        data = bytearray()
        while True:
            data += connection.recv(65_536)
            while True:
                try:
                    packet, size = mqtt5.read(memoryview(bytes(data)))
                except IndexError:
                    break
                del data[:size]
                if isinstance(packet, mqtt5.PublishPacket):
                    return bytes(packet.payload or b"").decode()


def add_user(passwords: Path, name: str, password: str) -> None:
    """Add a user to a password file, which is created if it does not exist."""
    create = [] if passwords.exists() else ["-c"]
    subprocess.run(
        [require("mosquitto_passwd"), "-b", *create, str(passwords), name, password],
        check=True,
        capture_output=True,
    )


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STUCK_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, f"mosquitto ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"mosquitto does not listen at {port}:\n{log.read_text()}"
            time.sleep(0.02)
        else:
            return
