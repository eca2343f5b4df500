"""Make sessions of MQTT, with the settings that a test names."""

from typing import Any

from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.session import MqttSession, Use
from loadgen.protocol.mqtt.settings import Settings
from loadgen.protocol.mqtt.wire import Mqtt5, Mqtt311


def session_of(
    handler: Any,
    qos: int = 1,
    login: UserPassword | None = None,
    *,
    reader: PacketReader | None = None,
    stamp_name: str | None = None,
    websocket: bool = False,
    version: str = "5",
    memory: Memory | None = None,
    retain: bool = False,
) -> MqttSession:
    settings = Settings(qos=qos, version=version, clean=memory is None, retain=retain)  # type: ignore[arg-type]
    wire = Mqtt5(reader) if version == "5" else Mqtt311(reader)
    client_id = "loadgen-1" if memory is None else memory.client_id
    return MqttSession(handler, client_id, Use(settings, wire, login, stamp_name, websocket), memory)
