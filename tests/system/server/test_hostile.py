"""Test invalid WebSocket input: no crash, no hang, no leaked connection, no unauthorised delivery.

After every batch of hostile input, the tests check that an honest publisher still reaches an honest
subscriber, and that no other client has received or published anything. The inputs are the same 600 each
time. LOADGEN_HOSTILE_BATCHES=200 makes it 10,000 of each kind, which takes minutes.
"""

import base64
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import jwt
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync.auth import SUBPROTOCOL, encode_header_subprotocol
from loadgen.server.process import Announcement, ServerProcess
from tests.system.harness import STUCK_S
from tests.system.server.conftest import Client

# The clients' threads draw masks with `random` while hypothesis runs. Its warning is ignored, as its data stays the
# same.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

BATCH = 50
BATCHES = int(os.environ.get("LOADGEN_HOSTILE_BATCHES", "12"))
"""Number of batches of each kind of input, each of BATCH inputs."""

MANY = settings(
    max_examples=BATCHES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
CHANNEL = re.compile(
    r"\/?[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?(?:\/[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?){0,4}\/?"
)
"""The grammar of a channel, from AWS's documentation."""
API = """
auth:
  iam: {users: [{access_key_id: AKIAHOSTILE, secret_env: HOSTILE_SECRET}]}
  oidc: {issuer: https://login.example, jwks: jwks.json}
  lambda: {function: "authorizer.py:decide"}
  connect: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  publish: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  subscribe: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
"""


class Honest:
    """An honest publisher, an honest subscriber, and the server's process."""

    def __init__(self, server: Announcement, stack: ExitStack) -> None:
        self.server = server
        self.process = psutil.Process(server.pid)
        self.subscriber = Client(server, stack)
        self.publisher = Client(server, stack)
        assert self.subscriber.subscribe("/default/*")["type"] == "subscribe_success"
        self._number = 0
        self.sockets = self.open_sockets()

    def open_sockets(self) -> int:
        return len(self.process.net_connections(kind="tcp"))

    def still_fine(self) -> None:
        """Publish an honest event, and assert that no other event reached the subscriber before it."""
        self._number += 1
        event = f'"honest {self._number}"'
        self.publisher.send(
            {
                "type": "publish",
                "id": "h",
                "channel": "/default/honest",
                "events": [event],
                "authorization": self.publisher.authorization,
            }
        )
        assert self.publisher.receive()["type"] == "publish_success"
        got = self.subscriber.receive()
        assert got["event"] == event, f"somebody else's event came through: {got}"

    def nothing_leaked(self) -> None:
        deadline = time.monotonic() + STUCK_S
        while self.open_sockets() > self.sockets:
            assert time.monotonic() < deadline, f"{self.open_sockets()} sockets, {self.sockets} at the start"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Honest]:
    folder = tmp_path_factory.mktemp("hostile")
    private = rsa.generate_private_key(65537, 2048)
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**key, "kid": "k"}]}))
    (folder / "authorizer.py").write_text(
        "def decide(event):\n    return {'isAuthorized': event['authorizationToken'] == 'the one good token'}\n"
    )
    (folder / "api.yaml").write_text(API)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("HOSTILE_SECRET", "hush")
        server = stack.enter_context(
            ServerProcess(["--api", str(folder / "api.yaml"), "--ka-interval", "3600"])
        )
        yield Honest(server.announcement, stack)


# --- Strategies for parts of hostile input ---

texts = st.text(max_size=40) | st.sampled_from(
    [
        "",
        "/default/a",
        "default",
        "/default/*",
        "*",
        "//",
        "a" * 200,
        "\x00",
        "\ud7ff",
        "../../etc",
        "s1",
        "é",
        "/",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
TYPES = ("connection_init", "subscribe", "unsubscribe", "publish", "ka", "data", "start", "", "Subscribe")


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


segments = st.one_of(
    st.builds(lambda o: b64(json.dumps(o).encode()), st.dictionaries(texts, scalars, max_size=4)),
    st.builds(
        lambda alg: b64(json.dumps({"alg": alg, "kid": "k"}).encode()),
        st.sampled_from(["none", "HS256", "RS256", "", None, 7, "ES256"]),
    ),
    st.just(b64(b'{"iss":"https://login.example","exp":99999999999}')),
    st.binary(max_size=40).map(b64),
    st.text(max_size=10),
)
jwts = st.lists(segments, min_size=1, max_size=4).map(".".join)
signatures = st.builds(
    "AWS4-HMAC-SHA256 Credential={}/{}/{}/appsync/aws4_request, SignedHeaders={}, Signature={}".format,
    st.sampled_from(["AKIAHOSTILE", "AKIANOBODY", ""]),
    st.sampled_from(["20261124", "", "00000000"]),
    st.sampled_from(["us-east-1", "eu-west-1", ""]),
    st.sampled_from(["host;x-amz-date", "host", "", ";;;", "a;" * 500]),
    st.text("0123456789abcdef", min_size=62, max_size=65) | texts,
)
tokens = texts | jwts | signatures | jwts.map("Bearer {}".format) | st.just("The one good token")
authorizations = st.dictionaries(
    st.sampled_from(["x-api-key", "Authorization", "authorization", "host", "x-amz-date", "X-Api-Key"]),
    tokens,
    max_size=4,
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | values,
        "id": texts | values,
        "channel": texts | values,
        "events": st.lists(texts | values, max_size=7) | values,
        "authorization": authorizations | values,
    },
)
frames = st.one_of(
    objects.map(json.dumps),
    values.map(json.dumps),
    st.text(max_size=60),
    objects.map(json.dumps).map(lambda text: text[: len(text) // 2]),
    st.integers(1, 3_000).map(lambda depth: '{"type":"publish","events":' + "[" * depth),
    st.integers(1, 3_000).map(lambda depth: '{"type":"publish","events":' + "[" * depth + "]" * depth + "}"),
    st.binary(max_size=60),
)


def batches(of: st.SearchStrategy[Any]) -> Any:
    return st.lists(of, min_size=BATCH, max_size=BATCH)


def test_frames(honest: Honest) -> None:
    """A client with a valid connection sends invalid frames."""
    sent = 0

    @MANY
    @given(batches(frames))
    def check(batch: list[str | bytes]) -> None:
        nonlocal sent
        with ExitStack() as stack:
            attacker = Client(honest.server, stack)
            for frame in batch:
                sent += 1
                try:
                    attacker.socket.send(frame)
                except UnicodeEncodeError:  # half of a surrogate pair, which can only be sent as raw bytes
                    send_what_is_no_text(honest.server)
            # No well-formed frame ends the connection.
            answers = drain(attacker)
        for answer in answers:
            assert answer["type"] in (
                "error",
                "subscribe_error",
                "unsubscribe_error",
                "publish_error",
                "connection_ack",
            )
        honest.still_fine()

    check()
    assert sent >= BATCH * BATCHES * 0.9
    honest.nothing_leaked()


def drain(client: Client) -> list[dict[str, Any]]:
    """Send an honest request; return all answers up to the one to it. Fails if the connection is closed or silent."""
    answers: list[dict[str, Any]] = []
    client.send({"type": "unsubscribe", "id": "the-last"})
    while not answers or answers[-1].get("id") != "the-last":
        answers.append(client.receive(timeout=STUCK_S))
    return answers


def send_what_is_no_text(server: Announcement) -> None:
    """Send a text frame that is not UTF-8; the server must close that connection (RFC 6455, 8.1)."""
    headers = {"x-api-key": server.api_key}
    with connect(
        server.ws_url, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers, close_timeout=1
    ) as other:
        other.send(b"\xed\xa0\x80", text=True)
        with pytest.raises(ConnectionClosed):
            other.recv(timeout=STUCK_S)


@pytest.mark.parametrize("what", ["subscribe", "publish"])
def test_tokens(honest: Honest, what: str) -> None:
    """Clients with forged keys, tokens and signatures ask for events on an open connection."""

    @MANY
    @given(batches(authorizations))
    def check(batch: list[dict[str, str]]) -> None:
        with ExitStack() as stack:
            attacker = Client(honest.server, stack)
            for number, authorization in enumerate(batch):
                message = {
                    "type": what,
                    "id": f"a{number}",
                    "channel": "/default/honest",
                    "events": ['"forged"'],
                }
                attacker.send({**message, "authorization": authorization})
            honest.still_fine()
            answers = drain(attacker)
        assert len(answers) == BATCH + 1
        assert {answer["type"] for answer in answers[:-1]} == {f"{what}_error"}

    check()
    honest.nothing_leaked()


def test_connects(honest: Honest) -> None:
    """Forged credentials in the handshake get 101, then `connection_error`, and the connection is closed."""

    @MANY
    @given(st.lists(tokens.map(b64_header) | authorizations.map(header), min_size=BATCH, max_size=BATCH))
    def check(batch: list[str]) -> None:
        for offered in batch:
            with (
                suppress(InvalidHandshake, InvalidMessage, ValueError),
                connect(
                    honest.server.ws_url,
                    subprotocols=[Subprotocol(SUBPROTOCOL), Subprotocol(offered)],
                    close_timeout=1,
                ) as attacker,
            ):
                with suppress(ConnectionClosed):
                    attacker.send('{"type":"subscribe","id":"s","channel":"/default/*"}')
                assert json.loads(attacker.recv(timeout=STUCK_S))["type"] == "connection_error"
                with pytest.raises(ConnectionClosed):
                    attacker.recv(timeout=STUCK_S)
        honest.still_fine()

    check()
    honest.nothing_leaked()


def header(fields: dict[str, str]) -> str:
    return encode_header_subprotocol({"host": "localhost", **fields})


def b64_header(token: str) -> str:
    return "header-" + b64(token.encode(errors="surrogatepass"))


def test_channels(honest: Honest) -> None:
    """With a valid key, a channel is accepted exactly if AWS's grammar and the namespace allow it."""
    letters = st.text("aB9-*/ é.", max_size=12).map("/default/".__add__) | st.text("aB9-*/", max_size=12)
    long = st.integers(45, 55).map(lambda n: "/default/" + "a" * n)
    many = st.integers(1, 8).map(lambda n: "/default" + "/a" * n)

    @MANY
    @given(batches(letters | long | many | texts))
    def check(batch: list[str]) -> None:
        with ExitStack() as stack:
            client = Client(honest.server, stack)
            for channel in batch:
                message = {
                    "type": "subscribe",
                    "id": "c",
                    "channel": channel,
                    "authorization": client.authorization,
                }
                try:
                    answer = client.ask(message)
                except UnicodeEncodeError:
                    continue
                assert (answer["type"] == "subscribe_success") == may_subscribe(channel), channel
                good = answer["type"] == "subscribe_success"
                if good:
                    assert client.ask({"type": "unsubscribe", "id": "c"})["type"] == "unsubscribe_success"
        honest.still_fine()

    check()
    honest.nothing_leaked()


def may_subscribe(channel: str) -> bool:
    """Return whether a channel, without a final wildcard, fits AWS's grammar and the only namespace."""
    core = channel.removesuffix("/")
    if core.endswith("/*"):
        core = core.removesuffix("/*")
        if core.endswith("/") or core.count("/") - core.startswith("/") > 3:
            return False
    else:
        core = channel
    return CHANNEL.fullmatch(core) is not None and core.removeprefix("/").partition("/")[0] == "default"


bodies = st.one_of(
    objects.map(json.dumps).map(str.encode),
    values.map(json.dumps).map(str.encode),
    st.binary(max_size=80),
    st.integers(900, 3_000).map(lambda depth: b'{"channel":"/default/honest","events":' + b"[" * depth),
    st.integers(900, 3_000).map(
        lambda depth: b'{"channel":"/default/honest","events":' + b"[" * depth + b"]" * depth + b"}"
    ),
    st.just(b'{"channel":"/default/honest","events":["\\"forged\\""]}'),
)
heads = st.builds(
    lambda method, path, fields: (method, path, fields),
    st.sampled_from(["POST", "GET", "PUT", "OPTIONS", "HEAD", "FOO", "POST" * 20]),
    st.sampled_from(["/event", "/event/realtime", "/", "/event/", "/../event", "*", "/%00", "/event?x=1"]),
    st.dictionaries(
        st.sampled_from(
            ["x-api-key", "Authorization", "Content-Type", "Sec-WebSocket-Protocol", "Upgrade", "Expect"]
        ),
        tokens.map(lambda text: re.sub(r"[^\x21-\x7e]", "", text)),
        max_size=3,
    ),
)


def test_http_requests(honest: Honest) -> None:
    """Each request that is valid HTTP, but not valid for the service, is answered with an error."""

    @MANY
    @given(st.lists(st.tuples(heads, bodies), min_size=BATCH, max_size=BATCH))
    def check(batch: list[tuple[tuple[str, str, dict[str, str]], bytes]]) -> None:
        address = urlsplit(honest.server.http_url)
        pending: socket.socket | None = None
        for (method, path, fields), body in batch:
            if pending is None:
                pending = socket.create_connection(
                    (address.hostname or "", address.port or 0), timeout=STUCK_S
                )
            lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in fields.items()]
            pending.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = pending.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:80]
            status = answer[9:12]
            assert path != "/event" or method != "POST" or status[:1] == b"4", answer[:200]
            # Close the connection after one request, since this test does not look for the end of an answer.
            pending.close()
            pending = None
        honest.still_fine()

    check()
    honest.nothing_leaked()


def test_bytes(honest: Honest) -> None:
    """Send bytes that are neither a whole request nor whole frames, and reset some of the connections after them."""
    address = urlsplit(honest.server.http_url)
    place = (address.hostname or "", address.port or 0)
    upgrade = (
        f"GET /event/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
        f"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
        f"x-api-key: {honest.server.api_key}\r\n\r\n"
    ).encode()

    @MANY
    @given(
        st.lists(
            st.tuples(st.booleans(), st.binary(max_size=200), st.booleans()), min_size=BATCH, max_size=BATCH
        )
    )
    def check(batch: list[tuple[bool, bytes, bool]]) -> None:
        for upgraded, content, reset in batch:
            with socket.create_connection(place, timeout=STUCK_S) as raw:
                with suppress(ConnectionError):
                    raw.sendall((upgrade if upgraded else b"") + content)
                if reset:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        honest.still_fine()

    check()
    honest.nothing_leaked()
