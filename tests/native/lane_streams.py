"""Make random streams of MQTT and of protocol files, in reads of random size, for `lanes_fuzz`.

`lanes_fuzz` compares what C code and Python read from them. Some messages are made invalid.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import mqtt5

from loadgen.payloads.place import place_named
from loadgen.payloads.plans import Stamps
from loadgen.protocol.api_gateway.endpoints import WebSocketUrl
from loadgen.protocol.api_gateway.service import ApiGatewayService
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.service import AppSyncGraphql
from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.mqtt.wire import Mqtt311, read311, sent_again
from loadgen.protocol_file import protocol_at
from tests.native.fuzz import changed as changed_text
from tests.native.fuzz import flip, number, repeat, stamped, swap, written
from tests.protocol.mqtt.sessions import session_of

PLACES: Final = [
    place_named(name) for name in ("_lg", "_lg", "_lg", "trace", "/meta/trace", "/items/1/t", "é")
]
#: Subscriptions, as channels by subscription id, that both sessions make: one with and one without the fast path.
#: `NUMBERS` has their numbers in the record.
CHANNELS: Final = {
    "s1": "/default/a",
    "s2": "/default/b/c",
    "s3": "/x",
    "s-4": "/default/a-long-channel-name-with-many-letters/and-segments",
}
WILDCARDS: Final = {"s5": "/deep/*", "s6": "/deep/er/*"}
NUMBERS: Final = {"s1": 5, "s2": -1, "s3": 2**40, "s-4": 0, "s5": 7, "s6": 2**63 - 1}
#: A subscription without a number, so that no session records its deliveries.
UNNUMBERED: Final = {"s9": "/default/unnumbered"}


@dataclass
class Streams:
    """One kind of stream: functions that make a message and a session, and the framing."""

    name: str
    message: Callable[[Random, Stamps], bytes]
    session: Callable[[SessionHandler], Any]
    #: The first byte of each frame, or 0 for a stream without frames.
    first: int = 0
    #: True if each message has its own frame. If False, a frame holds any number of whole or partial messages.
    alone: bool = False
    #: Pieces of messages of this kind, which replace other bytes when a message is changed.
    fragments: Sequence[bytes] = ()
    #: Other messages that a service sends between deliveries.
    others: Sequence[bytes] = field(default=(b"",))


def event(random: Random, stamps: Stamps) -> bytes:
    """Return an event, which sometimes is not valid JSON."""
    stamp = [number(random) for _ in range(5)]
    text = written(random, stamped(random, stamps.place.tokens, stamp, 2)).encode()
    if random.random() < 0.12:
        text = changed_text(text.replace(b'"', b'\\"'), random).replace(b'\\"', b'"')
    elif random.random() < 0.05:
        text = (
            random.choice((b" ", b"\n", b"\xef\xbb\xbf", b""))
            + text
            + random.choice((b" ", b"\r\n", b"x", b"\n"))
        )
    return text


_TOPICS: Final = [
    *(channel[1:] for channel in CHANNELS.values()),
    "default/a", "deep/x", "deep/er/x", "deep/er/", "deep/", "deep", "deep/er", "deep/é/x", "deep/er/\x01", "default/é",
    "default/unnumbered", "unknown", "x/", "deeper/x", "deep/er/x/y/z", "X",
]  # fmt: skip


def packet(random: Random, stamps: Stamps) -> bytes:
    """Return a PUBLISH of MQTT 5, usually a simple one."""
    more: dict[str, Any] = {}
    if random.random() < 0.4:
        more |= {"qos": mqtt5.QoS.AT_LEAST_ONCE, "packet_id": random.choice((1, 255, 256, 65535, 0, 7))}
    elif random.random() < 0.03:
        more |= {"qos": mqtt5.QoS.EXACTLY_ONCE, "packet_id": 9}
    if random.random() < 0.3:
        more |= random.choice(
            (
                {"user_properties": [("a", "b"), ("a", "c")]}, {"user_properties": [("ä", "b")]},
                {"payload_format_indicator": 1}, {"message_expiry_interval": 77}, {"content_type": "application/json"},
                {"content_type": "é"}, {"response_topic": "x"}, {"correlation_data": b"\x00\xff"}, {"topic_alias": 3},
                {"subscription_ids": [1, 300]}, {"retain": True}, {"payload_format_indicator": 1, "content_type": "a"},
            )
        )  # fmt: skip
        if "packet_id" in more and random.random() < 0.2:
            more["duplicate"] = True
    topic = random.choice(_TOPICS)
    packed: bytes = mqtt5.PublishPacket(topic, event(random, stamps), **more).write()
    return packed


_MQTT_OTHERS: Final = [
    mqtt5.PingRespPacket().write(), mqtt5.PubAckPacket(77).write(),
    mqtt5.SubAckPacket(9, [mqtt5.SubAckReasonCode(0)]).write(),
    mqtt5.DisconnectPacket().write(), mqtt5.PublishPacket("deep/x", b"\xff").write(), b"\xd0\x00",
]  # fmt: skip
_MQTT_FRAGMENTS: Final = [
    b"\x00", b"\x30", b"\x32", b"\x3a", b"\x34", b"\x7f", b"\x80\x00", b"\x80\x01", b"\xff\xff\xff\x7f",
    b"\x00\x09default/a",
    b"\x02\x01\x01", b"\x02\x01\x02", b"\x04\x01\x01\x01\x00", b"\x02\x0b\x00", b"\x03\x23\x00\x05",
    b"\x07\x26\x00\x01a\x00\x01b",
    b"\x04\x03\x00\x01\x00", b"\xc3\x28", b"\x00\x00", b"\x02\x0b\x05",
]  # fmt: skip


def packet311(random: Random, stamps: Stamps) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1, usually a simple one."""
    qos = random.choice((0, 0, 0, 1, 1, 1, 2) if random.random() < 0.3 else (0, 1))
    packed = Mqtt311().publish(
        random.choice(_TOPICS), event(random, stamps),
        qos=qos, packet_id=random.choice((1, 255, 256, 65535, 7)) if qos else None, retain=random.random() < 0.05,
    )  # fmt: skip
    return sent_again(packed) if qos and random.random() < 0.05 else packed


_MQTT311_OTHERS: Final = [
    b"\xd0\x00", b"\x40\x02\x00\x4d", b"\x90\x03\x00\x09\x00", b"\x62\x02\x00\x09",
    b"\x30\x09\x00\x06deep/x\xff",
]  # fmt: skip


def mqtt_session(
    websocket: bool, qos: int, readers: PacketReader, version: str = "5"
) -> Callable[[SessionHandler], Any]:
    def make(log: SessionHandler) -> MqttSession:
        session = session_of(log, qos, reader=readers, websocket=websocket, version=version)
        session.receive(mqtt5.ConnAckPacket().write() if version == "5" else b"\x20\x02\x00\x00", 1, 2)
        for subscription_id, channel in (CHANNELS | WILDCARDS | UNNUMBERED).items():
            session.subscribe(subscription_id, channel)
        return session

    return make


_PREFIX = (
    "version: 1\nconnect: {{url: '{{target}}', frames: {frames}, messages: {messages}}}\n"
    "subscribe: {{send: '{send}'}}\n"
)
_REST = "publish: {{websocket: {{send: '{{channel}} {{event}}'}}}}\ndeliver: {deliver}\n"


def generic_session(
    messages: str, deliver: str, send: str, binary: bool = False, more: str = ""
) -> Callable[[SessionHandler], Any]:
    """Return a function that makes sessions of a protocol file."""
    text = (_PREFIX + _REST).format(
        messages=messages, deliver=deliver, send=send, frames="binary" if binary else "text"
    ) + more
    protocol = protocol_at("fuzz.yaml+ws://127.0.0.1:1", text)
    service = protocol.service(protocol.endpoints("fuzz.yaml+ws://127.0.0.1:1"), {})

    def make(log: SessionHandler) -> Any:
        session = service.session(log)
        session.opening()
        for subscription_id, channel in (UNNUMBERED | CHANNELS).items():
            session.subscribe(subscription_id, channel)
        return session

    return make


def _id(random: Random) -> str:
    return random.choice(list(CHANNELS) if random.random() < 0.9 else ["s9", "s12", "S1", "é", "s1x"])


def _channel(random: Random) -> str:
    return random.choice(
        list(CHANNELS.values()) if random.random() < 0.9 else [*UNNUMBERED.values(), "/none", "s1", "/é"]
    )


#: Return a subscription's place, from 1 on, in the order in which `generic_session` requests them. Place 1 has the
#: subscription without a number in the record.
def _number(random: Random) -> str:
    if random.random() < 0.9:
        return random.choice("2345")
    return random.choice(["1", "05", "002", "0", "12345678", "1234567890", "-2", ""])


def nats(random: Random, stamps: Stamps) -> bytes:
    text = event(random, stamps)
    size = (
        len(text)
        if random.random() < 0.95
        else random.choice((0, len(text) - 1, len(text) + 2, 5, 10**8, 5_000_000))
    )
    line = f"MSG {random.choice(['default.a', 'é', 'x'])} {_id(random)} {size}"
    if random.random() < 0.04:
        line = line.replace(" ", random.choice(("  ", "\t", "\x0b", " reply ")), 1)
    return line.encode() + b"\r\n" + text + random.choice((b"\r\n",) * 20 + (b"\n\r", b"ab"))


def line(random: Random, stamps: Stamps) -> bytes:
    text = event(random, stamps)
    if random.random() < 0.9:
        text = text.replace(b"\n", b" ")
    return f"D {_number(random)};".encode() + text + b"!\r\n"


def worded(random: Random, stamps: Stamps) -> bytes:
    """Return a line with two names and a word that the protocol ignores."""
    word = random.choice(("w", "w", "é", "", "a b"))
    return (
        f"D {_number(random)} {_id(random)} {word} ".encode()
        + event(random, stamps).replace(b"\n", b" ")
        + b"!\r\n"
    )


def resting(random: Random, stamps: Stamps) -> bytes:
    """Return an event after a protocol line, which states the event's size and may end with text of no meaning."""
    text = event(random, stamps)
    return (
        f"D {_number(random)}/{len(text)} ".encode()
        + random.choice((b"", b"x y", b"\xff"))
        + b"\r\n"
        + text
        + b"\r\n"
    )


def bare(random: Random, stamps: Stamps) -> bytes:
    return event(random, stamps)


def text_message(random: Random, stamps: Stamps) -> bytes:
    word = random.choice(["w", "s1", "s2"] if random.random() < 0.9 else ["é", "a b", "", "\x7f"])
    name = (_channel if random.random() < 0.9 else _id)(random)
    return f"EVENT {name} {word}\n".encode() + event(random, stamps) + b"."


def json_message(random: Random, stamps: Stamps) -> bytes:
    """Return a delivery with the event as a string, among other members in any order."""
    text = event(random, stamps)
    parts: list[tuple[str, Any]] = [
        ("t", "d" if random.random() < 0.95 else random.choice(("k", 1, "dd"))),
        ("n", 3 if random.random() < 0.95 else random.choice((3.0, "3", 4, 30))),
        ("z", None if random.random() < 0.95 else 0),
        ("sub", {"id": _id(random), "more": [1, {"id": "s2"}]}),
        ("e", text.decode(errors="replace")),
    ]
    if random.random() < 0.3:
        parts.append((random.choice(("more", "ü", "id")), [1, {"t": "d"}]))
    if random.random() < 0.3:
        random.shuffle(parts)
    return (json.dumps if random.random() < 0.2 else _compact)(dict(parts)).encode()


def _compact(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def json_list(random: Random, stamps: Stamps) -> bytes:
    """Return a delivery in the form of a JSON list, such as ["x",2,{"a":1,"data":EVENT}]; sometimes it is invalid."""
    head = random.choice(
        ('["x",', "[1,", "[null,", "[{},", '["x" ,') if random.random() < 0.95 else ("[", "[[],,")
    )
    number_ = random.choice(
        "2345" if random.random() < 0.9 else ("1", "-1", "2.0", "5e0", '"2"', "12345678901234567890")
    )
    tail = random.choice(
        ("]", ",1]", ",[]]", " ]", "] ", "]\n") if random.random() < 0.95 else ("],", "", "]]")
    )
    return f"{head}{number_},".encode() + b'{"a":1,"data":' + event(random, stamps) + b"}" + tail.encode()


def graphql(random: Random, stamps: Stamps) -> bytes:
    """Return a `data` message of AppSync GraphQL, sometimes with errors or without its event."""
    fields: Any = {"name": "a", "data": event(random, stamps).decode(errors="replace")}
    if random.random() < 0.05:
        fields = random.choice((None, {}, {"data": None}, [fields], {"data": 7}))
    parts: list[tuple[str, Any]] = [
        ("id", _id(random)),
        ("type", "data" if random.random() < 0.95 else random.choice(("ka", "start_ack", "complete"))),
        ("payload", {"data": {"subscribe": fields}}),
    ]
    if random.random() < 0.2:
        parts[2][1]["errors"] = random.choice(([], None, [{"message": "é"}]))
    if random.random() < 0.3:
        random.shuffle(parts)
    return (json.dumps if random.random() < 0.2 else _compact)(dict(parts)).encode()


def graphql_session(log: SessionHandler) -> Any:
    """Return a session of AppSync GraphQL."""
    service = AppSyncGraphql(GraphqlUrl.from_url("http://127.0.0.1:1/graphql"), ApiKey("k"))
    session = service.session(log)
    for subscription_id, channel in (UNNUMBERED | CHANNELS).items():
        session.subscribe(subscription_id, channel)
    return session


def gateway(random: Random, stamps: Stamps) -> bytes:
    """Return a delivery from the backend of a WebSocket API, which names the subscription's channel."""
    parts: list[tuple[str, Any]] = [
        ("type", "message" if random.random() < 0.95 else random.choice(("subscribed", "error", "pong", 1))),
        ("channel", _channel(random)),
        ("data", event(random, stamps).decode(errors="replace")),
    ]
    if random.random() < 0.2:
        parts.append(
            (random.choice(("id", "connectionId", "message")), random.choice(("s1", None, {"type": 1})))
        )
    if random.random() < 0.3:
        random.shuffle(parts)
    return (json.dumps if random.random() < 0.2 else _compact)(dict(parts)).encode()


def gateway_session(log: SessionHandler) -> Any:
    """Return a session of a WebSocket API of API Gateway."""
    session = ApiGatewayService(WebSocketUrl.from_url("apigw+ws://127.0.0.1:1/production")).session(log)
    for subscription_id, channel in (UNNUMBERED | CHANNELS).items():
        session.subscribe(subscription_id, channel)
    return session


def kinds() -> list[Streams]:
    """Return all kinds of streams."""
    readers = PacketReader()
    nats_more = 'replies: [{on: PING, send: "PONG\\r\\n"}]\nignore: ["+OK"]\nerrors: ["-ERR {reason}"]\n'
    made: list[Streams] = []
    for websocket in (False, True):
        for qos in (0, 1):
            made.append(
                Streams(
                    f"mqtt, QoS {qos}{', frames' if websocket else ''}", packet, mqtt_session(websocket, qos, readers),
                    0x82 if websocket else 0, fragments=_MQTT_FRAGMENTS, others=_MQTT_OTHERS,
                )
            )  # fmt: skip
        made.append(
            Streams(
                f"mqtt 3.1.1{', frames' if websocket else ''}", packet311,
                mqtt_session(websocket, 1, PacketReader(read311), "3.1.1"), 0x82 if websocket else 0,
                fragments=_MQTT_FRAGMENTS, others=_MQTT311_OTHERS,
            )
        )  # fmt: skip
    text_fragments = [
        b" ",
        b"\r\n",
        b"\r",
        b"\n",
        b"\t",
        b"s1",
        b"{",
        b"}",
        b'"',
        b"9",
        b"0",
        b"\xff",
        b"MSG ",
        b"\xc3\xa9",
        b"\x00",
    ]
    made.append(
        Streams(
            "appsync-graphql", graphql, graphql_session, 0x81, True, text_fragments,
            others=(b'{"type":"ka"}', b'{"type":"error","payload":{"errors":{"message":"x"}}}', b""),
        )
    )  # fmt: skip
    made.append(
        Streams(
            "api-gateway", gateway, gateway_session, 0x81, True, text_fragments,
            others=(b'{"type":"pong"}', b'{"message":"Forbidden","connectionId":"x"}', b'{"type":"published"}'),
        )
    )  # fmt: skip
    for binary in (False, True):
        first = 0x82 if binary else 0x81
        made += [
            Streams(
                f"nats, first {first:#x}", nats,
                generic_session("lines", r'"MSG {channel} {id} {bytes}\r\n{event}\r\n"', "SUB {id}", binary, nats_more),
                first, fragments=text_fragments, others=(b"PING\r\n", b"+OK\r\n", b"-ERR x\r\n", b"INFO\r\n"),
            ),
            Streams(
                f"lines, first {first:#x}", line,
                generic_session("lines", '"D {number};{event}!"', "SUB {number}", binary), first,
                fragments=text_fragments,
            ),
            Streams(
                f"lines with a word, first {first:#x}", worded,
                generic_session("lines", '"D {number} {id} {channel} {event}!"', "SUB {number} {id}", binary), first,
                fragments=text_fragments,
            ),
            Streams(
                f"lines with a rest, first {first:#x}", resting,
                generic_session("lines", r'"D {number}/{bytes} {*}\r\n{event}\r\n"', "SUB {number}", binary), first,
                fragments=text_fragments,
            ),
            Streams(
                f"text, first {first:#x}", text_message,
                generic_session("text", r'"EVENT {channel} {id}\n{event}."', "SUB {id} {channel}", binary), first, True,
                text_fragments,
            ),
            Streams(
                f"text by channel, first {first:#x}",
                lambda random, stamps: text_message(random, stamps).replace(b"EVENT", b"E 12", 1),
                generic_session("text", r'"E {number} {channel} w\n{event}."', "SUB {number} {channel}", binary),
                first, True, text_fragments,
            ),
            Streams(
                f"json, first {first:#x}", json_message,
                generic_session(
                    "json", "{when: {/t: d, /n: 3, /z: null}, id: /sub/id, event: /e}",
                    "{id}", binary,
                ),
                first, True, text_fragments,
            ),
            Streams(
                f"json list, first {first:#x}", json_list,
                generic_session("json", "{number: /1, event_json: /2/data}", "{number}", binary),
                first, True, text_fragments,
            ),
            Streams(
                f"bare events, first {first:#x}", bare,
                generic_session("text", '"{event}"', "SUB", binary), first, True, text_fragments,
            ),
        ]  # fmt: skip
    return made


def messages_of(random: Random, kind: Streams, stamps: Stamps) -> list[bytes]:
    """Return messages, most of them valid."""
    made: list[bytes] = []
    for _ in range(random.choice((1, 2, 5, 20))):
        # Repeat the last message now and then. A fan-out repeats events too, but on different connections.
        message = made[-1] if made and random.random() < 0.3 else kind.message(random, stamps)
        if random.random() < 0.05:
            message = random.choice(kind.others)
        if random.random() < 0.07 and message:
            at = random.randrange(len(message) if random.random() < 0.3 else min(24, len(message)))
            how = random.randrange(6)
            if how < 2:
                message = message[:at] + random.choice(kind.fragments) + message[at + how :]
            elif how == 2:
                message = message[:at] + message[at + 1 :]
            else:
                message = (flip, repeat, swap)[how - 3](message, at, random)
        made.append(message[:60_000])
    return made


def frame(first: int, content: bytes, random: Random) -> bytes:
    """Return a frame, sometimes with a longer length field than it needs."""
    size = len(content)
    if size < 126 and random.random() < 0.95:
        return bytes((first, size)) + content
    if random.random() < 0.97:
        return bytes((first, 126)) + size.to_bytes(2, "big") + content
    return bytes((first, 127)) + size.to_bytes(8, "big") + content


def writes_of(random: Random, kind: Streams, messages: list[bytes]) -> list[bytes]:
    """Return the data of each write of a service: a message, or a frame if the stream has frames."""
    if not kind.first:
        return messages
    if kind.alone:
        pieces = messages
    else:
        # Make frames of one message, of several, or of parts.
        data, pieces = b"".join(messages), []
        if random.random() < 0.8:
            while messages:
                count = random.choice((1, 1, 1, 2, 5))
                pieces.append(b"".join(messages[:count]))
                messages = messages[count:]
        else:
            while data:
                size = random.choice((10, 100, 500, 3000, len(data)))
                pieces.append(data[:size])
                data = data[size:]
    first = kind.first
    framed = []
    for piece in pieces:
        framed.append(frame(first if random.random() < 0.97 else first ^ 3, piece, random))
        if random.random() < 0.02:
            framed.append(b"\x89\x01p")
    return framed


def reads_of(random: Random, writes: list[bytes]) -> Iterator[tuple[bytes, tuple[int, int, int, int]]]:
    """Yield the data of each read and its times; either all reads have whole writes, or all have pieces of any size."""
    at_ns = 1_790_000_000_000_000_000
    pieces = []
    if random.random() < 0.7:
        while writes:
            count = random.choice((1, 1, 2, 5))
            pieces.append(b"".join(writes[:count]))
            writes = writes[count:]
    else:
        data, at = b"".join(writes), 0
        size = random.choice((1, 3, 100, 700, 5_000, len(data) or 1))
        while at < len(data):
            pieces.append(
                data[at : at + (size if random.random() < 0.7 else random.choice((1, 3, 100, 700, 5_000)))]
            )
            at += len(pieces[-1])
    for piece in filter(None, pieces):
        at_ns += 1000
        within_ns = random.choice((0, 17, 400))
        yield piece, (at_ns, at_ns + 5, within_ns, random.choice((0, within_ns)))
