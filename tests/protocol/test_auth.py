"""Test credentials, and the `header-` subprotocol that carries them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync.auth import (
    ApiKey,
    BearerToken,
    decode_header_subprotocol,
    encode_header_subprotocol,
    publish_body,
    subscribe_body,
)
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import ClientLogins

SECRET = "da2-abcdefghijklmnopqrstuvwxyz"


def test_an_api_key_never_shows_itself() -> None:
    assert SECRET not in repr(ApiKey(SECRET))
    assert SECRET not in str(ApiKey(SECRET))


def test_an_api_key_goes_where_the_documentation_says() -> None:
    key = ApiKey(SECRET)
    assert key.headers("api.example.com") == {"x-api-key": SECRET}
    assert key.connect_headers("api.example.com") == {"host": "api.example.com", "x-api-key": SECRET}
    assert key.frame_authorization("api.example.com", b"{}")["x-api-key"] == SECRET


@pytest.mark.parametrize("key", ["", "a b", "a\r\nx: y", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="API key is empty or has characters") as caught:
        ApiKey(key)
    assert not key or key not in str(caught.value)


@given(st.dictionaries(st.text(), st.text()))
def test_the_subprotocol_round_trips_and_is_a_legal_token(headers: dict[str, str]) -> None:
    encoded = encode_header_subprotocol(headers)
    assert decode_header_subprotocol(encoded) == headers
    assert all(character.isalnum() or character in "-_" for character in encoded)


def test_padding_is_tolerated() -> None:
    encoded = base64.urlsafe_b64encode(b'{"host":"h"}').decode()
    assert encoded.endswith("=") or len(encoded) % 4 == 0
    assert decode_header_subprotocol("header-" + encoded) == {"host": "h"}


def test_a_whole_number_is_taken_as_text() -> None:
    """A header value may be a JSON number: the npm package aws4 writes Content-Length as one."""
    encoded = base64.urlsafe_b64encode(b'{"host":"h","Content-Length":2}').decode().rstrip("=")
    assert decode_header_subprotocol("header-" + encoded) == {"host": "h", "Content-Length": "2"}


@pytest.mark.parametrize(
    "text",
    [
        "header",
        "header-",
        "header-%%%",
        "header-W10",
        "header-e30.",
        "header-x",
        "header-eyJhIjpbMV19",
        "header-eyJhIjoxLjV9",
    ],
)
def test_a_bad_subprotocol_raises_without_showing_its_content(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        decode_header_subprotocol(text)
    assert "\n" not in str(caught.value)
    assert text.removeprefix("header-") == "" or text not in str(caught.value).replace("'header-'", "")


def test_what_a_signature_covers_is_compact_and_in_the_known_order() -> None:
    assert subscribe_body("/default/*") == b'{"channel":"/default/*"}'
    assert publish_body("/default/a", ['{"a":1}']) == b'{"channel":"/default/a","events":["{\\"a\\":1}"]}'


def test_a_handshake_carries_the_token_of_its_own_connection() -> None:
    """The client reuses its last handshake as long as the credential is unchanged."""
    tokens = iter(["one", "one", "two", "one"])
    service = AppSyncEvents(
        Endpoints.from_url("http://127.0.0.1:8080/event"), BearerToken(lambda: next(tokens))
    )
    carried = [
        decode_header_subprotocol(service.handshake().subprotocols[1])["Authorization"] for _ in range(4)
    ]
    assert carried == ["one", "one", "two", "one"]


def test_a_client_with_a_login_of_its_own_has_a_handshake_of_its_own() -> None:
    shared = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:8080/event"), ApiKey("shared"))
    assert decode_header_subprotocol(shared.handshake().subprotocols[1])["x-api-key"] == "shared"
    own = shared.for_client(ClientLogins(connect=ApiKey("own")))
    assert decode_header_subprotocol(own.handshake().subprotocols[1])["x-api-key"] == "own"
    assert decode_header_subprotocol(shared.handshake().subprotocols[1])["x-api-key"] == "shared"
