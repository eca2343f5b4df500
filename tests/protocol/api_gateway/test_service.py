"""Test the messages of a WebSocket API with given bytes, and the authorization of its handshake."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native, targets
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.api_gateway.service import ApiGatewayService
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.appsync.sigv4 import IamSignature
from loadgen.protocol.base import PING, ClientLogins, PublishAnswer
from loadgen.protocol.generic.session import UNASKED, GenericSession
from loadgen.protocol.refusals import Kind
from loadgen.server import frames
from loadgen.stand_ins.api_gateway.authorization import Keys, RefusedError, Request, demand_signature
from tests.protocol.generic.test_session import Told

URL = "apigw+ws://127.0.0.1:8700/production"
OK = PublishAnswer()
LOGINS = (ApiKey, BearerToken, IamSignature)


def service_of(query: str = "", login: object = None, url: str = URL) -> ApiGatewayService:
    url += query and f"?{query}"
    protocol = targets.protocol_of(url)
    made = protocol.service(protocol.endpoints(url), login)
    assert isinstance(made, ApiGatewayService)
    return made


def begun(query: str = "") -> tuple[GenericSession, Told]:
    told = Told()
    session = service_of(query).session(told)
    assert session.opening() == []
    return session, told


class TestMessages:
    def test_a_subscribe_is_a_message_to_a_route_and_answered_by_its_id(self) -> None:
        session, told = begun()
        sent = json.loads(session.subscribe("s1", "/default/a"))
        assert sent == {"action": "subscribe", "id": "s1", "channel": "/default/a"}
        session.receive(b'{"type":"subscribed","id":"s1","channel":"/default/a"}', 1, 2)
        assert told.take() == [("subscribed", "s1")]

    def test_a_publish_carries_the_event_as_a_string_or_as_json(self) -> None:
        session, told = begun()
        sent = json.loads(session.publish("p1", "/default/a", ['{"n": 1}']))
        assert sent == {"action": "publish", "id": "p1", "channel": "/default/a", "data": '{"n": 1}'}
        session.receive(b'{"type":"published","id":"p1"}', 1, 2)
        assert told.take() == [("published", "p1", OK)]
        session, _ = begun("event=json")
        assert session.publish("p1", "/default/a", ['{"n": 1}']).endswith(b'"data":{"n": 1}}')

    def test_a_delivery_belongs_to_the_subscription_of_its_channel(self) -> None:
        session, told = begun("wildcards=yes")
        session.subscribe("s1", "/default/a")
        session.subscribe("s2", "/default/*")
        session.receive(b'{"type":"message","channel":"/default/a","data":"{\\"x\\":1}"}', 1, 2)
        session.receive(b'{"data":"e","channel":"/default/*","type":"message","more":[]}', 1, 2)
        assert told.take() == [("event", "s1", '{"x":1}'), ("event", "s2", "e")]

    def test_refusals_belong_to_their_requests_and_others_are_errors_of_the_service(self) -> None:
        session, told = begun()
        session.subscribe("s1", "/default/a")
        session.publish("p1", "/default/a", ["{}"])
        session.receive(b'{"type":"error","id":"s1","message":"Forbidden: no"}', 1, 2)
        session.receive(b'{"type":"error","id":"p1","message":"later"}', 1, 2)
        session.receive(b'{"type":"error","id":"p9","message":"whose?"}', 1, 2)
        assert told.take() == [
            ("subscribe_failed", "s1", "Forbidden: no"),
            ("published", "p1", PublishAnswer(error="later")),
            ("service_error", "whose?"),
        ]

    @pytest.mark.parametrize(
        ("message", "said"),
        [
            ("Bad request body", "as the route selection expects"),
            ("Forbidden", "no route of the API"),
            ("Internal server error", "29 s"),
            ("Limit exceeded", "throttle"),
            ("Something new", ""),
        ],
    )
    def test_errors_of_the_gateway_are_explained(self, message: str, said: str) -> None:
        session, told = begun()
        error = {"message": message, "connectionId": "L0SM9cOFvHcCIhw=", "requestId": "r-1"}
        session.receive(json.dumps(error).encode(), 1, 2)
        [(kind, reason)] = told.take()
        assert kind == "service_error"
        assert reason.startswith(f"API Gateway: {message}")
        assert said in reason
        assert "L0SM" not in reason, "reasons of many connections are one reason"

    def test_an_answer_that_no_request_awaits_is_a_deviation(self) -> None:
        session, told = begun()
        session.receive(b'{"type":"published","id":"p1"}', 1, 2)
        assert told.take() == [("deviation", UNASKED)]

    def test_names_and_answers_can_be_changed(self) -> None:
        session, told = begun(
            "route=op&subscribe=sub&publish=pub&id=ref&channel=topic&data=body&type=kind&delivered=evt&acks=none"
        )
        assert json.loads(session.subscribe("s1", "/a")) == {"op": "sub", "ref": "s1", "topic": "/a"}
        assert json.loads(session.publish("p", "/a", ["e"])) == {
            "op": "pub",
            "ref": "p",
            "topic": "/a",
            "body": "e",
        }
        session.receive(b'{"kind":"evt","topic":"/a","body":"e"}', 1, 2)
        assert told.take() == [("event", "s1", "e")]
        service = service_of("acks=none")
        assert not service.answers_publishes
        assert not service.answers_subscribes
        assert service_of("acks=publish").answers_publishes
        assert not service_of("acks=publish").answers_subscribes

    def test_an_idle_connection_is_kept_by_a_message_or_a_ping_or_not_at_all(self) -> None:
        session, told = begun()
        assert session.keepalive_ns == 300_000_000_000
        assert json.loads(session.keepalive()) == {"action": "ping"}
        session.receive(b'{"type":"pong"}', 1, 2)
        assert told.take() == []
        session, _ = begun("keepalive=ping&keepalive_s=60")
        assert (session.keepalive_ns, session.keepalive()) == (60_000_000_000, PING)
        assert begun("keepalive=none")[0].keepalive_ns is None

    def test_without_an_unsubscribe_route_subscriptions_do_not_change(self) -> None:
        assert targets.protocol_of(URL).rules.subscriptions_change
        assert not targets.protocol_of(f"{URL}?unsubscribe=").rules.subscriptions_change
        session, told = begun()
        session.subscribe("s1", "/a")
        session.receive(b'{"type":"subscribed","id":"s1","channel":"/a"}', 1, 2)
        sent = json.loads(session.unsubscribe("s1"))
        assert (sent["action"], sent["channel"]) == ("unsubscribe", "/a")
        session.receive(
            json.dumps({"type": "unsubscribed", "id": sent["id"], "channel": "/a"}).encode(), 1, 2
        )
        assert told.take() == [("subscribed", "s1")]

    @given(st.binary(max_size=400))
    def test_no_bytes_make_a_session_fail(self, message: bytes) -> None:
        session, told = begun()
        session.subscribe("s1", "/a")
        session.receive(message, 1, 2)
        assert all(kind in ("undecodable", "service_error", "deviation") for kind, *_ in told)

    @given(
        st.dictionaries(
            st.sampled_from(["type", "id", "channel", "data", "message", "connectionId"]),
            st.none() | st.integers() | st.sampled_from(["message", "subscribed", "error", "s1", "/a"]),
        )
    )
    def test_no_message_of_known_members_makes_a_session_fail(self, message: dict[str, object]) -> None:
        session, told = begun()
        session.subscribe("s1", "/a")
        session.receive(json.dumps(message).encode(), 1, 2)
        assert len(told) <= 1

    @given(st.text(max_size=300), st.sampled_from(["/a", "/default/x/y"]))
    def test_an_event_of_any_text_comes_back_as_it_was_sent(self, event: str, channel: str) -> None:
        session, told = begun()
        session.subscribe("s1", channel)
        sent = json.loads(session.publish("p1", channel, [event]))
        delivered = {"type": "message", "channel": sent["channel"], "data": sent["data"]}
        session.receive(json.dumps(delivered).encode(), 1, 2)
        assert told.take() == [("event", "s1", event)]

    @pytest.mark.skipif(not native.available, reason="the native receive path was not built")
    @pytest.mark.parametrize("query", ["", "event=json", "channel=topic&data=body"])
    def test_the_fast_path_takes_deliveries_and_leaves_answers(self, query: str) -> None:
        session, _ = begun(query)
        session.subscribe("s1", "/a")
        rows = native.Rows(9, 4)
        fast_path = session.fast_path(rows, {"s1": 3}, NativePlace(("_lg",), checked=False))
        assert fast_path is not None
        event: object = {"_lg": [1, 2, 3, 4, 5], "text": "hello"}
        channel, data = ("topic", "body") if "topic" in query else ("channel", "data")
        event = event if query == "event=json" else json.dumps(event, separators=(",", ":"))
        message = json.dumps({"type": "message", channel: "/a", data: event}, separators=(",", ":"))
        frame = frames.text_frame(message.encode())
        assert fast_path.take_frames(frame, 10, 20) == len(frame)
        ((buffer, used),) = rows.take()
        assert memoryview(buffer)[:used].cast("q").tolist() == [3, 10, 20, 0, 1, 2, 3, 4, 5]
        for other in (b'{"type":"published","id":"p1"}', b'{"type":"message"}'):
            assert fast_path.take_frames(frames.text_frame(other), 10, 20) == 0


def test_unreadable_messages_are_counted_by_kind() -> None:
    session, told = begun()
    for message in (b"\xff", b"{", b"[]", b'{"type":"news"}'):
        session.receive(message, 1, 2)
    kinds = [kind for _, kind, _ in told.take()]
    assert kinds == [
        unreadable.MESSAGE_NOT_UTF8,
        unreadable.NOT_JSON,
        unreadable.UNDESCRIBED,
        unreadable.UNDESCRIBED,
    ]


class TestConnections:
    """With `form=connections`, the harness itself posts to `@connections`."""

    def test_an_event_goes_to_the_connection_that_subscribed_to_its_channel(self) -> None:
        service = service_of("form=connections", ApiKey("k"))
        assert service.http_url == "http://127.0.0.1:8700/production/@connections"
        told, other = Told(), Told()
        ada, bob = service.session(told), service.for_client(ClientLogins()).session(other)
        for session, name, address in ((ada, "ada", "A/+="), (bob, "bob", "B==")):
            session.opening()
            session.subscribe(name, f"/users/{name}")
            answer = {"type": "subscribed", "id": name, "channel": f"/users/{name}", "connectionId": address}
            session.receive(json.dumps(answer).encode(), 1, 2)
        assert told.take() == [("subscribed", "ada")]
        assert other.take() == [("subscribed", "bob")]
        request = service.http_publish("/users/bob", ['{"n":1}'])
        assert (request.method, request.resource) == ("POST", "/production/@connections/B%3D%3D")
        assert service.http_publish("/users/ada", ["{}"]).resource == "/production/@connections/A%2F%2B%3D"
        assert request.headers == {"Authorization": "Bearer k"}
        assert "Bearer" not in repr(request)
        bob.receive(request.body, 1, 2)
        assert other.take() == [("event", "bob", '{"n":1}')]
        assert "AAAA" in str(service.http_publish("/users/eve", ["{}"]).resource), "of no connection"

    def test_an_answer_without_the_connections_id_is_none(self) -> None:
        session, told = begun("form=connections")
        session.subscribe("s1", "/a")
        session.receive(b'{"type":"subscribed","id":"s1","channel":"/a"}', 1, 2)
        [(kind, what, _)] = told.take()
        assert (kind, what) == ("undecodable", unreadable.UNDESCRIBED)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (403, Kind.DENIED),
            (410, Kind.DENIED),
            (413, Kind.DENIED),
            (429, Kind.THROTTLED),
            (500, Kind.FAILING),
        ],
    )
    def test_a_refused_post_says_why(self, status: int, kind: Kind) -> None:
        service = service_of("form=connections")
        assert service.http_answer(200, b"") == OK
        answer = service.http_answer(status, b"\xff")
        assert answer.error is not None
        assert answer.error.startswith(f"HTTP {status}")
        assert answer.refusal is not None
        assert answer.refusal.kind is kind

    @given(st.integers(100, 599), st.binary(max_size=200))
    def test_any_answer_is_read(self, status: int, body: bytes) -> None:
        answer = service_of("form=connections").http_answer(status, body)
        assert (answer.error is None) == (status == 200)

    def test_a_post_is_signed_with_its_body_and_the_path_as_it_is_sent(self) -> None:
        login = IamSignature(lambda: ReadOnlyCredentials("AKID", "secret", None), "us-east-1")
        service = service_of("form=connections", login)
        service._addresses["/a"] = "L0SM9cOFvHcCIhw="
        request = service.http_publish("/a", ["{}"])
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers["host"] = "127.0.0.1:8700"
        assert request.resource is not None
        keys = Keys("AKID", "secret")
        demand_signature(Request("POST", request.resource, headers, request.body), keys)
        with pytest.raises(RefusedError):
            demand_signature(Request("POST", request.resource, headers, b"other"), keys)

    def test_aws_is_not_asked_without_a_signature(self) -> None:
        url = "wss://a.execute-api.us-east-1.amazonaws.com/prod"
        for login in (None, ApiKey("k"), BearerToken(lambda: "t")):
            with pytest.raises(ValueError, match="--auth iam"):
                service_of("form=connections", login, url)
        assert service_of("", None, url).http_url is None

    def test_events_are_posted_and_never_sent_over_a_connection(self) -> None:
        rules = targets.protocol_of(f"{URL}?form=connections").rules
        assert rules.publishes_over_http
        assert not rules.publishes_over_connections
        for wrong in ("acks=none", "acks=publish", "wildcards=yes"):
            with pytest.raises(ValueError, match="form=connections"):
                service_of(f"form=connections&{wrong}")


class TestLogins:
    def test_nobody_logs_in_by_default_and_frames_have_32_kb(self) -> None:
        handshake = service_of().handshake()
        assert (handshake.headers, handshake.resource) == ({}, "/production")
        assert handshake.most_frame_bytes == 32 * 1024

    def test_a_token_goes_into_a_header_or_into_the_query(self) -> None:
        login = BearerToken(lambda: "to ken/+=")
        assert service_of(login=login).handshake().headers == {"Authorization": "to ken/+="}
        named = service_of("token=header:X-Token", login).handshake()
        assert named.headers == {"X-Token": "to ken/+="}
        asked = service_of("token=query:access_token", login).handshake()
        assert asked.headers == {}
        assert asked.resource is not None
        assert urlsplit(asked.resource).path == "/production"
        assert parse_qs(urlsplit(asked.resource).query) == {"access_token": ["to ken/+="]}

    def test_an_api_key_has_its_usual_header(self) -> None:
        assert service_of(login=ApiKey("k")).handshake().headers == {"x-api-key": "k"}

    def test_each_client_has_its_own_login_and_the_rest_is_shared(self) -> None:
        service = service_of(login=BearerToken(lambda: "common"))
        ada = service.for_client(ClientLogins(connect=BearerToken(lambda: "ada")))
        other = service.for_client(ClientLogins())
        assert ada.handshake().headers["Authorization"] == "ada"
        assert other.handshake().headers["Authorization"] == "common"
        assert service.handshake().headers["Authorization"] == "common"

    @pytest.mark.parametrize("query", ["", "token=query:t"])
    def test_a_login_is_never_shown(self, query: str) -> None:
        service = service_of(query, BearerToken(lambda: "canary/1"))
        handshake = service.handshake()
        assert "canary" not in repr(handshake) + repr(service)
        assert "canary" not in service.shown(b'{"message":"canary/1 canary%2F1"}')

    @pytest.mark.parametrize("token", [None, "session-token"])
    @pytest.mark.parametrize("host", ["127.0.0.1:8700", "a.execute-api.us-east-1.amazonaws.com"])
    def test_a_signature_is_valid_for_this_handshake_alone(self, token: str | None, host: str) -> None:
        url = f"apigw+{'ws' if host[0] == '1' else 'wss'}://{host}/production"
        login = IamSignature(lambda: ReadOnlyCredentials("AKID", "secret", token), "us-east-1")
        headers = {
            name.lower(): value for name, value in service_of("", login, url).handshake().headers.items()
        }
        assert "host" not in headers
        assert f"{datetime.now(UTC):%Y%m%d}/us-east-1/execute-api/aws4_request" in headers["authorization"]
        headers["host"] = host
        keys = Keys("AKID", "secret", token)
        demand_signature(Request("GET", "/production", headers), keys)
        for wrong in (
            Request("GET", "/other", headers),
            Request("POST", "/production", headers),
            Request("GET", "/production", {**headers, "host": "elsewhere"}),
            Request("GET", "/production", {**headers, "x-amz-date": "20200101T000000Z"}),
        ):
            with pytest.raises(RefusedError):
                demand_signature(wrong, keys)
        with pytest.raises(RefusedError):
            demand_signature(Request("GET", "/production", headers), Keys("AKID", "other", token))
