"""Messages that a service may send, valid and damaged, for each protocol."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import mqtt5

from loadgen.measure.stamp import encode_event

#: A PUBLISH whose topic is not UTF-8; the MQTT codec, written in Rust, panics on it.
BAD_TOPIC = bytes.fromhex("30 05 00 01 b5 00 ff")
#: A message that AppSync Events would never send: invalid UTF-8 in a text frame.
BAD_TEXT = b'{"type":"data","id":"\xff","event":"x"}'

#: A login's secret, which a service may send back.
SECRET = "s3cret&key"


def event(sequence: int = 1, token: int = 7) -> str:
    return encode_event(token, 1, sequence, 1_790_000_000_000_000_001, 1_790_000_000_000_000_002, 90)


def _quoted(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode()


APPSYNC: Sequence[bytes] = (
    b'{"type":"ka"}',
    b'{"type":"connection_ack","connectionTimeoutMs":300000}',
    b'{"type":"connection_ack","connectionTimeoutMs":' + b"9" * 300 + b"}",
    b'{"type":"connection_error","errors":[{"errorType":"No","errorCode":401}]}',
    b'{"type":"data","id":"s1","event":"' + _quoted(event()) + b'"}',
    b'{"type":"data","id":"s1","event":["' + _quoted(event()) + b'"]}',
    b'{"type":"data","id":"s1"}',
    b'{"type":"data","event":"x"}',
    b'{"type":"data","id":"nobody\'s","event":"x"}',
    b'{"id":"s1","event":"{\\"_lg\\":[99999999999999999999,-1,1,1,1]}","type":"data"}',
    BAD_TEXT,
    b'{"type":"\xff"}',
    b'{"type":"subscribe_success","id":"s1"}',
    b'{"type":"subscribe_success"}',
    b'{"type":"subscribe_error","id":"s9","errors":[{"message":"The Canonical String \xc3\xa9"}]}',
    b'{"type":"publish_success","id":"p1","successful":[],"failed":[{"index":-1,"code":7}]}',
    b'{"type":"publish_success","id":"p1","failed":[{"index":' + b"9" * 4400 + b"}]}",
    b'{"type":"publish_error","id":"p1","errors":[{"errorCode":"a\\ud83d\\ude00"}]}',
    b'{"type":"unsubscribe_success","id":"s1"}',
    b'{"type":"broadcast_error","errors":[]}',
    b'{"type":"error","errors":[{}]}',
    b'{"type":"subscribe","id":"s1","channel":"/a/b","authorization":{"x-api-key":"%b"}}' % SECRET.encode(),
    b'{"type":"data","id":"s1","event":"\\ud800"}',
    b"[" * 3000,
    b'{"type":' * 2000,
    b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"type":"ka"}',
    b"",
    b"null",
    b"\x00",
)

MQTT: Sequence[bytes] = (
    mqtt5.ConnAckPacket().write(),
    mqtt5.ConnAckPacket(server_keep_alive=0, receive_max=1).write(),
    mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.BANNED).write(),
    mqtt5.PublishPacket("default/a", event().encode()).write(),
    mqtt5.PublishPacket("default/a", event().encode(), qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=4).write(),
    mqtt5.PublishPacket("else/where", b"\xff\x00").write(),
    mqtt5.PublishPacket("a", b"", user_properties=[("a", "b")]).write(),
    mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write(),
    mqtt5.SubAckPacket(9, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED], reason_str="nö").write(),
    mqtt5.UnsubAckPacket(2, [mqtt5.UnsubAckReasonCode.NOT_AUTHORIZED]).write(),
    mqtt5.PubAckPacket(3).write(),
    mqtt5.PubAckPacket(60_000).write(),
    mqtt5.PingRespPacket().write(),
    mqtt5.DisconnectPacket(reason_str="bye").write(),
    mqtt5.ConnectPacket("back", username="u", password=SECRET.encode()).write(),
    BAD_TOPIC,
    bytes.fromhex("30 ff ff ff 7f 00 01 61"),
    bytes.fromhex("30 ff ff ff ff ff"),
    b"\x00\x00",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
)

NATS: Sequence[bytes] = (
    b"INFO {}\r\n",
    b"+OK\r\n",
    b"-ERR 'Slow Consumer'\r\n",
    b"PING\r\n",
    b"PONG\r\n",
    b"MSG default.a s1 %d\r\n%b\r\n" % (len(event()), event().encode()),
    b"MSG default.a nobody 2\r\n{}\r\n",
    b"MSG default.a s1 2\r\n\xff\xff\r\n",
    b"MSG \xff s1 2\r\n{}\r\n",
    b"MSG a s1 999999999\r\n",
    b"MSG a s1 -1\r\n",
    b"\xff\xff\r\n",
    b"\r\n",
)

TEXTS: Sequence[bytes] = (event().encode(), b"{}", b"\xff", b"", "ü".encode(), b"\xed\xa0\x80")

JSON: Sequence[bytes] = (
    b'{"type":"welcome","you":1}',
    b'{"type":"tick"}',
    b'{"type":"ping"}',
    b'{"type":"msg","sub":1,"data":{"event":%b}}' % event().encode(),
    b'{"type":"msg","sub":9,"data":{"event":1}}',
    b'{"type":"msg","sub":1,"data":{"event":"\xff"}}',
    b'{"type":"msg","sub":1,"data":{"event":' + b"9" * 400 + b"}}",
    b'{"type":"msg","sub":1,"data":{"event":1e400}}',
    b'{"type":"msg","sub":' + b"9" * 30 + b',"data":{"event":1}}',
    b'{"type":"msg","sub":1,"data":{"event":' + b"[" * 3000 + b"]" * 3000 + b"}}",
    b'{"type":"error","why":' + b"9" * 400 + b"}",
    b'{"type":"error","why":"\xff"}',
    b'{"type":"failed","id":1,"why":"full"}',
    b'{"type":"pubbed","id":"p1"}',
    b'{"type":"pubbed","id":{}}',
    b'{"type":"subbed","id":1}',
    b'{"type":"news","x":"\xff"}',
    b"{",
    b"\xff",
    b"[]",
    b"",
)

HTTP: Sequence[bytes] = (
    b'{"failed":[],"successful":[{"identifier":"a","index":0}]}',
    b'{"failed":[{"identifier":"\xff","index":0}],"successful":[]}',
    b'{"failed":[{"index":-7,"code":"x","message":"y"}]}',
    b'{"failed":[{"index":' + b"9" * 400 + b"}]}",
    b'{"errors":[{"errorType":"No","message":"no"}]}',
    b'{"errors":[{"errorType":"\xff"}]}',
    b'{"errors":' + b"[" * 5000,
    b"\xff\xfe",
    b"",
    b"<html>",
    b"null",
)

#: Complete HTTP answers with their headers.
HTTP_ANSWERS: Sequence[bytes] = (
    *(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) for body in HTTP),
    b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 \xff\xff\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nx-\xff: \xff\r\ncontent-length: 2\r\nx: y\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nset-cookie: \xff\xfe\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
    b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/9.9 999 \r\n\r\n",
    b"\xff\xff\xff\xff",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
)

_TOKENS = (
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\x00",
    b'"',
    b"{",
    b"]",
    b"\r\n",
    b"9" * 5000,
    b"\x80\x80\x80\x80",
)


def damaged(random: Random, messages: Sequence[bytes]) -> bytes:
    """Return a random message: unchanged, cut off, with altered bytes, or joined to another; or return random bytes."""
    message = bytearray(random.choice(messages))
    match random.randrange(8):
        case 0:
            return bytes(message)
        case 1:
            return random.randbytes(random.choice((1, 2, 7, 40, 300)))
        case 2:
            return bytes(message[: random.randrange(len(message) + 1)])
        case 3:
            return bytes(message) + random.choice(messages)
        case 4:
            for _ in range(random.randrange(1, 5)):
                if message:
                    message[random.randrange(len(message))] = random.randrange(256)
        case 5:
            place = random.randrange(len(message) + 1)
            message[place:place] = random.choice(_TOKENS)
        case 6:
            begin = random.randrange(len(message) + 1)
            del message[begin : begin + random.randrange(1, 9)]
        case _:
            begin = random.randrange(len(message) + 1)
            message[begin:begin] = message[begin : begin + random.randrange(1, 40)]
    return bytes(message)


def cut(random: Random, stream: bytes) -> list[bytes]:
    """Cut the stream at up to three random places, as if each piece came in a read of its own."""
    places = sorted(
        {random.randrange(len(stream) + 1) for _ in range(random.randrange(4))} | {0, len(stream)}
    )
    return [stream[begin:end] for begin, end in pairwise(places)]
