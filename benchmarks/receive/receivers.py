"""The receivers to compare (ours, the C reader as the limit, and other tools), and the command that starts each.

All receive from the same sender, and each is written as a user of the tool would write it. The other tools decode each
event's JSON and keep its latency, but record nothing more; our receiver records everything.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from speed.peers import package, program, why_missing

from receive.sender import Subscriber
from receive.services import MqttSubscriber, NatsSubscriber, NatsWebSocketSubscriber, SocketIoSubscriber

HERE = Path(__file__).resolve().parent

LIMIT = "C, epoll and read (limit)"
K6 = "k6"
ARTILLERY = "Artillery"
LOCUST = "Locust with websocket-client"
SOCKET_IO = "Locust's SocketIOUser"
PICOWS = "picows with aiofastnet"
#: Tsung only counts the bytes that arrive while it waits: it has no step that reads messages one by one.
TSUNG = "Tsung (bytes, undecoded)"
MOSQUITTO = "mosquitto_sub, a process each"
MQTT_JS = "mqtt of npm"
MQTT_LOCUST = "Locust's MqttUser (paho)"
NATS_PY = "nats-py"

#: Takes (port, subscribers, folder of the run, which is also the working directory) and returns the command.
Command = Callable[[int, int, Path], list[str]]


@dataclass(frozen=True)
class Receiver:
    """A receiver: the command to start it, or ``missing`` if it is not installed.

    The command opens the given number of subscriptions, receives until the sender closes all connections, and prints a
    line of JSON with the number of ``deliveries`` or ``bytes`` that it has received.
    """

    name: str
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    #: The only core that the receiver may use, or None for all cores.
    core: int | None = None
    missing: str | None = None
    #: True if the receiver is another tool, False if it is ours or the C reader that shows the limit.
    peer: bool = True
    #: Frames per second at which the search for the rate begins; the search takes longer if it ends far from this rate.
    first_rate: float = 5_000.0
    #: The class of the sender's side of a connection, which decides the protocol that the sender speaks.
    service: type[Subscriber] = Subscriber

    @property
    def label(self) -> str:
        """The names of the service and of the receiver, such as `AppSync Events: k6`."""
        return f"{self.service.title}: {self.name}"


def _ours_command(port: int, subscribers: int, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "receive_ours.py"), str(port), str(subscribers), str(folder)]


def _ours(name: str, **environment: str) -> Receiver:
    return Receiver(name, _ours_command, environment, peer=False, first_rate=_FAST)


_FAST = 30_000.0
OURS = _ours("ours, ws")
OURS_TLS = replace(_ours("ours, wss", BENCH_TLS="1"), tls=True)
OURS_LIVE = _ours("ours, with live displays", BENCH_LIVE="1")
OURS_BURNING = _ours("ours, with busy Python code", BENCH_BURN="1")
OURS_UNRECORDED = _ours("ours, record thrown away", BENCH_RECORD="0")
OURS_MQTT = replace(_ours("ours, MQTT", BENCH_TARGET="mqtt://127.0.0.1:{port}"), service=MqttSubscriber)
OURS_NATS = replace(
    _ours("ours, NATS", BENCH_TARGET="nats+ws://127.0.0.1:{port}"), service=NatsWebSocketSubscriber
)


def everyone(scratch: Path) -> list[Receiver]:
    """Return all receivers of AppSync Events; `limit.c`, the first of them, is compiled into the folder ``scratch``."""
    return [
        _limit(scratch, "appsync", Subscriber),
        OURS,
        OURS_TLS,
        _picows(),
        _picows("tls"),
        _k6(),
        _artillery(),
        _locust(LOCUST, "receive_locust.py", "websocket-client", Subscriber),
        _locust(SOCKET_IO, "receive_socketio.py", "python-socketio", SocketIoSubscriber),
        _tsung(),
    ]


def of_mqtt(scratch: Path) -> list[Receiver]:
    """Return all receivers of MQTT over TCP; the C reader (limit) and ours come first."""
    return [
        _limit(scratch, "mqtt", MqttSubscriber),
        OURS_MQTT,
        _mosquitto(),
        _mqtt_js(),
        _locust(MQTT_LOCUST, "receive_mqtt_locust.py", "paho-mqtt", MqttSubscriber),
    ]


def of_nats(scratch: Path) -> list[Receiver]:
    """Return all receivers of NATS over WebSocket, and nats-py over TCP; the C reader (limit) and ours come first."""
    return [
        _limit(scratch, "nats-ws", NatsWebSocketSubscriber),
        OURS_NATS,
        _nats_py(f"{NATS_PY}, WebSocket", "ws", NatsWebSocketSubscriber),
        _nats_py(f"{NATS_PY}, TCP", "tcp", NatsSubscriber),
    ]


def all_of(scratch: Path) -> list[Receiver]:
    """Return the receivers of all services."""
    return [*everyone(scratch), *of_mqtt(scratch), *of_nats(scratch)]


def _limit(scratch: Path, word: str, service: type[Subscriber]) -> Receiver:
    binary, compiler = scratch / "limit", program("cc")
    if compiler:
        subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / "limit.c")], check=True)
    script = str(HERE / "receive_limit.py")
    return Receiver(
        LIMIT,
        lambda port, count, _: [sys.executable, script, str(binary), str(port), str(count), word],
        peer=False,
        first_rate=_FAST,
        missing=why_missing("cc"),
        service=service,
    )


def _picows(*words: str) -> Receiver:
    script = str(HERE / "receive_picows.py")
    return Receiver(
        f"{PICOWS}, wss" if words else PICOWS,
        lambda port, count, _: [sys.executable, script, str(port), str(count), *words],
        tls="tls" in words,
        missing=why_missing("picows") or why_missing("aiofastnet"),
    )


def _k6() -> Receiver:
    return Receiver(
        K6,
        lambda *_: [
            str(program("k6")), "run", "--quiet", "--no-usage-report", "--address", "127.0.0.1:0",
            str(HERE / "receive_k6.js"),
        ],
        missing=why_missing("k6"),
    )  # fmt: skip


def _artillery() -> Receiver:
    return _by_script(ARTILLERY, "artillery", "receive_artillery.py", Subscriber)


def _tsung() -> Receiver:
    return _by_script(TSUNG, "tsung", "receive_tsung.py", Subscriber)


def _mosquitto() -> Receiver:
    return _by_script(MOSQUITTO, "mosquitto_sub", "receive_mosquitto.py", MqttSubscriber)


def _by_script(name: str, tool: str, script: str, service: type[Subscriber]) -> Receiver:
    """Return a receiver whose program ``tool`` is started by a script in this folder."""
    return Receiver(
        name,
        lambda port, count, folder: [
            sys.executable, str(HERE / script), str(program(tool)), str(port), str(count), str(folder)
        ],
        missing=why_missing(tool),
        service=service,
    )  # fmt: skip


def _locust(name: str, script: str, needs: str, service: type[Subscriber]) -> Receiver:
    command = [sys.executable, "-m", "locust", "-f", str(HERE / script), "--headless"]
    command += ["--only-summary", "--loglevel", "ERROR", "--reset-stats", "-t", "10m"]
    return Receiver(
        name,
        lambda port, count, _: [*command, "-u", str(count), "-r", str(count)],
        missing=why_missing(needs),
        service=service,
    )


def _mqtt_js() -> Receiver:
    return Receiver(
        MQTT_JS,
        lambda port, count, _: [str(program("node")), str(HERE / "receive_mqtt.js"), str(port), str(count)],
        {"NODE_PATH": str(package("mqtt"))},
        missing=why_missing("mqtt"),
        service=MqttSubscriber,
    )


def _nats_py(name: str, word: str, service: type[Subscriber]) -> Receiver:
    script = str(HERE / "receive_nats.py")
    return Receiver(
        name,
        lambda port, count, _: [sys.executable, script, str(port), str(count), word],
        missing=why_missing("nats-py"),
        service=service,
    )
