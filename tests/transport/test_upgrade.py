"""Test that our short parser of answers to an upgrade accepts nothing that the `websockets` library refuses."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from loadgen.transport.upgrade import LastAccepted, Upgrade

URL = "ws://127.0.0.1:8080/event/realtime?a=b"
OFFERED = ("aws-appsync-event-ws", "header-e30")
HEADERS = {"x-one": "1"}


def answer_of(upgrade: Upgrade) -> bytes:
    """Return the answer to an upgrade request from a server of the `websockets` library."""
    server = ServerProtocol(subprotocols=[Subprotocol(OFFERED[0])])
    server.receive_data(upgrade.request)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return b"".join(server.data_to_send())


def judged_by_the_library(upgrade: Upgrade, data: bytes) -> tuple[ClientProtocol, Sequence[object]]:
    protocol = upgrade.library(1024)
    protocol.receive_data(data)
    return protocol, protocol.events_received()


def test_the_request_is_the_librarys_with_a_key_of_its_own() -> None:
    one, two = Upgrade(URL, OFFERED, HEADERS), Upgrade(URL, OFFERED, HEADERS)
    assert one.request != two.request
    protocol = ClientProtocol(parse_uri(URL), subprotocols=[Subprotocol(name) for name in OFFERED])
    request = protocol.connect()
    request.headers["x-one"] = "1"
    theirs = request.serialize().split(b"\r\n")
    for ours in (one, two):
        lines = ours.request.split(b"\r\n")
        assert [line for line in lines if b"Key:" not in line] == [
            line for line in theirs if b"Key:" not in line
        ]
        assert len(lines) == len(theirs)


def test_an_answer_like_the_last_one_is_judged_again() -> None:
    """A repeated answer is recognised without parsing, but only if its `Sec-WebSocket-Accept` fits the current key."""
    last = LastAccepted()
    first = Upgrade(URL, OFFERED, HEADERS, last=last)
    answer = answer_of(first)
    assert first.accepted(answer) == len(answer)
    second = Upgrade(URL, OFFERED, HEADERS, last=last)
    again = answer_of(second)
    assert again != answer
    assert second.accepted(answer) == 0
    for cut in range(len(again)):
        assert second.accepted(again[:cut]) == 0
    assert second.accepted(again + b"\x81\x02hi") == len(again)


def test_an_answer_that_names_a_subprotocol_is_not_one_for_a_client_that_offered_another() -> None:
    last = LastAccepted()
    taught = Upgrade(URL, OFFERED, HEADERS, last=last)
    assert taught.accepted(answer_of(taught))
    other = Upgrade(URL, OFFERED[1:], HEADERS, last=last)
    key = next(line for line in other.request.split(b"\r\n") if b"Key:" in line)
    asked = Upgrade(URL, OFFERED, HEADERS)
    # Make an answer with the right Sec-WebSocket-Accept for `other`, but with a subprotocol that only `asked` has
    # offered.
    asked.request = asked.request.replace(
        next(line for line in asked.request.split(b"\r\n") if b"Key:" in line), key
    )
    assert other.accepted(answer_of(asked)) == 0


def test_the_usual_yes_is_taken_and_what_follows_is_left() -> None:
    upgrade = Upgrade(URL, OFFERED, HEADERS)
    answer = answer_of(upgrade)
    assert upgrade.accepted(answer) == len(answer)
    assert upgrade.accepted(answer + b"\x81\x02hi") == len(answer)
    assert upgrade.accepted(answer[:-1]) == 0


def test_another_key_subprotocol_or_status_is_the_librarys_to_refuse() -> None:
    upgrade = Upgrade(URL, OFFERED, HEADERS)
    answer = answer_of(upgrade)
    for changed in (
        answer_of(Upgrade(URL, OFFERED, HEADERS)),
        answer.replace(b"aws-appsync-event-ws", b"graphql-ws"),
        answer.replace(b" 101 ", b" 200 "),
        answer.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        answer.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\n\r\n"),
    ):
        assert changed != answer
        assert upgrade.accepted(changed) == 0
        protocol, _ = judged_by_the_library(upgrade, changed)
        assert protocol.state is not OPEN


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutation_is_taken_that_the_library_refuses(data: st.DataObject) -> None:
    upgrade = Upgrade(URL, OFFERED, HEADERS)
    answer = bytearray(answer_of(upgrade))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(answer) - 1))
        match data.draw(st.sampled_from(["change", "insert", "delete", "repeat"])):
            case "change":
                answer[place] = data.draw(st.integers(0, 255))
            case "insert":
                answer[place:place] = data.draw(
                    st.sampled_from([b" ", b"\t", b"\r\n", b"\n", b":", b",", b"\r\n ", b"\x00", b"A"])
                )
            case "delete":
                del answer[place]
            case "repeat":
                lines = bytes(answer).split(b"\r\n")
                line = data.draw(st.sampled_from(lines))
                answer = bytearray(b"\r\n".join([*lines[:-2], line, *lines[-2:]]))
    whole = bytes(answer)
    length = upgrade.accepted(whole)
    if length:
        protocol, events = judged_by_the_library(upgrade, whole[:length])
        assert protocol.state is OPEN, whole
        assert isinstance(events[0], Response)
        assert protocol.subprotocol in (None, *OFFERED)


@pytest.mark.parametrize("size", [100, 4096, 100_000])
def test_long_answers_go_to_the_library(size: int) -> None:
    upgrade = Upgrade(URL, OFFERED, HEADERS)
    answer = answer_of(upgrade).replace(b"\r\n\r\n", b"\r\nX-Long: " + b"a" * size + b"\r\n\r\n")
    assert bool(upgrade.accepted(answer)) == (size < 4096 - 200)


def test_a_connection_may_ask_for_a_path_of_its_own() -> None:
    usual, own = Upgrade(URL, OFFERED, HEADERS), Upgrade(URL, OFFERED, HEADERS, "/sub/a%20b?x=1")
    line, rest = own.request.split(b"\r\n", 1)
    assert line == b"GET /sub/a%20b?x=1 HTTP/1.1"
    assert rest.count(b"\r\n") == usual.request.count(b"\r\n") - 1
    assert own.accepted(answer_of(own)) > 0
