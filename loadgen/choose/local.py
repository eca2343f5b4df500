"""Serve a service on this machine for the length of a run."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen import subprocesses
from loadgen.choose.services import ChoiceError, Wanted
from loadgen.server.process import ServerProcess, ServerStartError

#: The environment variable with the API key of a stand-in, a local server that imitates a service.
_KEY: Final = "LOADGEN_CHOOSE_KEY"
_BROKERS: Final = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
_START_S: Final = 10.0
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """How a run reaches a service: options of `loadgen run`, and variables to add to its environment."""

    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def note(local: str) -> str:
    """Return a phrase saying what runs on this machine instead of the real service; it ends a sentence."""
    return {
        "appsync-events": "our embedded server on this machine: not AWS",
        "mqtt": "a Mosquitto broker on this machine: not AWS IoT Core",
    }.get(local, "our stand-in on this machine: not AWS")


def missing(local: str) -> str | None:
    """Return why this machine cannot serve the service, and the remedy, as one sentence; or None if it can."""
    if local != "mqtt" or _broker() is not None:
        return None
    return "there is no MQTT broker on this machine: install mosquitto, or give a broker's URL, as in --service mqtt://HOST"


@contextmanager
def serving(service: Wanted) -> Iterator[Address]:
    """Serve a service during a `with` block and yield its address; a service with a URL is already served elsewhere.

    Raises:
        ChoiceError: the service cannot be started.
    """
    if service.url is not None:
        yield Address(("--target", service.url))
    elif service.local == "appsync-events":
        # Serve nothing: `loadgen run` without a target starts the embedded server.
        yield Address()
    elif service.local == "mqtt":
        with _mosquitto() as port:
            yield Address(("--target", with_query(f"mqtt://127.0.0.1:{port}", service.query)))
    else:
        assert service.local is not None
        try:
            with ServerProcess(("--service", service.local), module="loadgen.stand_ins") as server:
                said = server.announcement
                options = ("--target", with_query(said.target, service.query), "--api-key-env", _KEY)
                yield Address(options, {_KEY: said.api_key})
        except ServerStartError as error:
            raise ChoiceError(f"the stand-in of {service.local} did not start: {error}") from None


def with_query(url: str, query: str) -> str:
    """Return the URL with the query appended, or the URL alone if the query is empty."""
    return f"{url}?{query}" if query else url


def _broker() -> str | None:
    return next((path for path in map(shutil.which, _BROKERS) if path is not None), None)


@contextmanager
def _mosquitto() -> Iterator[int]:
    """Run a Mosquitto broker for anonymous clients on a free loopback port, and yield the port."""
    program = _broker()
    if program is None:
        raise ChoiceError(missing("mqtt") or "")
    with tempfile.TemporaryDirectory(prefix="loadgen-choose-") as folder:
        port = subprocesses.free_port()
        settings = Path(folder, "mosquitto.conf")
        # mosquitto silently drops messages above its queue limits; 0 removes both limits.
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
            f"user {'root' if os.geteuid() == 0 else 'nobody'}\n"
        )
        process = subprocess.Popen(  # noqa: S603
            [program, "-c", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _await_listener(process, port)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_listener(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ChoiceError(f"mosquitto did not listen on port {port}: start a broker yourself, and give its URL")
