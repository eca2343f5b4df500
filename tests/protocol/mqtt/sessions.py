"""Make MQTT sessions with settings that a test gives."""

from typing import Any

import mqtt5

from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.mqtt.settings import Settings
from loadgen.protocol.mqtt.use import Use
from loadgen.protocol.mqtt.wire import Mqtt5, Mqtt311


def packets(data: bytes) -> list[Any]:
    """Read packets; all must be complete."""
    found, view = [], memoryview(data)
    while view:
        packet, size = mqtt5.read(view)
        found.append(packet)
        view = view[size:]
    return found


def use_of(
    qos: int = 1,
    login: UserPassword | None = None,
    *,
    reader: PacketReader | None = None,
    stamp_name: str | None = None,
    websocket: bool = False,
    version: str = "5",
    clean: bool = True,
    retain: bool = False,
) -> Use:
    settings = Settings(qos=qos, version=version, clean=clean, retain=retain)  # type: ignore[arg-type]
    wire = Mqtt5(reader) if version == "5" else Mqtt311(reader)
    return Use(settings, wire, login, stamp_name, websocket)


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
    use = use_of(
        qos,
        login,
        reader=reader,
        stamp_name=stamp_name,
        websocket=websocket,
        version=version,
        clean=memory is None,
        retain=retain,
    )
    client_id = "loadgen-1" if memory is None else memory.client_id
    return MqttSession(handler, client_id, use, memory)
