"""Test logging in each client to a simulated Cognito user pool, by password and by SRP."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.credentials.clients import maker
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.srp import COGNITO, N_3072, Exchange, Group, signed_bytes, timestamp
from loadgen.scenario.login import Login
from tests.listening import http_server

POOL = "eu-west-1_Ab12Cd"


def number(text: str) -> int:
    return int(text.replace(" ", ""), 16)


# The test vectors of RFC 5054, appendix B: the 1024-bit group with SHA-1, numbers padded to the length of N.
_N = number(
    "EEAF0AB9 ADB38DD6 9C33F80A FA8FC5E8 60726187 75FF3C0B 9EA2314C 9C256576 D674DF74 96EA81D3 383B4813 D692C6E0"
    "E0D5D8E2 50B98BE4 8E495C1D 6089DAD1 5DC7D7B4 6154D6B6 CE8EF4AD 69B15D49 82559B29 7BCF1885 C529F566 660E57EC"
    "68EDBC3C 05726CC0 2FD4CBF4 976EAA9A FD5138FE 8376435B 9FC61D2F C0EB06E3"
)
_RFC = Group(
    _N,
    2,
    lambda data: hashlib.sha1(data, usedforsecurity=False),
    lambda value: value.to_bytes(128),
    lambda value: value.to_bytes(128),
)
_A_SECRET = number("60975527 035CF2AD 1989806F 0407210B C81EDC04 E2762A56 AFD529DD DA2D4393")
_A = number(
    "61D5E490 F6F1B795 47B0704C 436F523D D0E560F0 C64115BB 72557EC4 4352E890 3211C046 92272D8B 2D1A5358 A2CF1B6E"
    "0BFCF99F 921530EC 8E393561 79EAE45E 42BA92AE ACED8251 71E1E8B9 AF6D9C03 E1327F44 BE087EF0 6530E69F 66615261"
    "EEF54073 CA11CF58 58F0EDFD FE15EFEA B349EF5D 76988A36 72FAC47B 0769447B"
)
_B = number(
    "BD0C6151 2C692C0C B6D041FA 01BB152D 4916A1E7 7AF46AE1 05393011 BAF38964 DC46A067 0DD125B9 5A981652 236F99D9"
    "B681CBF8 7837EC99 6C6DA044 53728610 D0C6DDB5 8B318885 D7D82C7F 8DEB75CE 7BD4FBAA 37089E6F 9C6059F3 88838E7A"
    "00030B33 1EB76840 910440B1 B27AAEAE EB4012B7 D7665238 A8E3FB00 4B117B58"
)
_PREMASTER = number(
    "B0DC82BA BCF30674 AE450C02 87745E79 90A3381F 63B387AA F271A10D 233861E3 59B48220 F7C4693C 9AE12B0A 6F67809F"
    "0876E2D0 13800D6C 41BB59B6 D5979B5C 00A172B4 A2A5903A 0BDCAF8A 709585EB 2AFAFA8F 3499B200 210DCC1F 10EB3394"
    "3CD67FC8 8A2F39A4 BE5BEC4E C0A3212D C346D7E4 74B29EDE 8A469FFE CA686E5A"
)


def test_the_formulas_give_the_values_of_the_rfc() -> None:
    salt = number("BEB25379 D1A8581E B5A72767 3A2441EE").to_bytes(16)
    inner = hashlib.sha1(b"alice:password123", usedforsecurity=False).digest()
    x = _RFC.hash(salt, inner)
    assert x == number("94B7555A ABE9127C C58CCF49 93DB6CF8 4D16C124")
    assert _RFC.k == number("7556AA04 5AEF2CDD 07ABAF0F 665C3E81 8913186F")
    assert _RFC.public(_A_SECRET) == _A
    premaster, u = _RFC.premaster(_A_SECRET, _A, _B, x)
    assert u == number("CE38B959 3487DA98 554ED47D 70A7AE5F 462EF019")
    assert premaster == _PREMASTER


def test_a_server_that_sends_zero_is_refused() -> None:
    for zero in (0, N_3072):
        with pytest.raises(ValueError, match="B is zero"):
            COGNITO.premaster(7, COGNITO.public(7), zero, 5)
    with pytest.raises(CredentialError, match="cannot be understood"):
        Exchange(POOL, "x").responses(
            {"USER_ID_FOR_SRP": "ann", "SALT": "1", "SRP_B": "0", "SECRET_BLOCK": "AA=="}
        )
    with pytest.raises(CredentialError, match="cannot be understood"):
        Exchange(POOL, "x").responses({})


def test_numbers_are_hashed_in_the_fewest_bytes_with_a_leading_zero_bit() -> None:
    assert [signed_bytes(each).hex() for each in (2, 127, 128, 255, 256)] == [
        "02",
        "7f",
        "0080",
        "00ff",
        "0100",
    ]


def test_the_time_is_written_in_english_without_a_zero_before_the_day() -> None:
    assert timestamp(datetime(2026, 11, 9, 3, 4, 5, tzinfo=UTC)) == "Mon Nov 9 03:04:05 UTC 2026"


class User:
    """A user of a user pool: what the pool stores, and the server's half of an SRP login."""

    def __init__(self, name: str, password: str) -> None:
        self.name = name
        self.salt = secrets.token_hex(16)
        inner = hashlib.sha256(f"{POOL.partition('_')[2]}{name}:{password}".encode()).digest()
        x = COGNITO.hash(signed_bytes(int(self.salt, 16)), inner)
        self.verifier = pow(2, x, N_3072)
        # RFC 5054 demands at least this length.
        self.b = secrets.randbits(256)
        self.public_b = (COGNITO.k * self.verifier + pow(2, self.b, N_3072)) % N_3072
        self.block = base64.b64encode(secrets.token_bytes(64)).decode()

    def challenge(self) -> dict[str, str]:
        return {
            "SALT": self.salt,
            "SRP_B": f"{self.public_b:x}",
            "SECRET_BLOCK": self.block,
            "USER_ID_FOR_SRP": self.name,
            "USERNAME": self.name,
        }

    def accepts(self, public_a: int, responses: dict[str, str]) -> bool:
        u = COGNITO.hash(signed_bytes(public_a), signed_bytes(self.public_b))
        premaster = pow(public_a * pow(self.verifier, u, N_3072), self.b, N_3072)
        extracted = hmac.digest(signed_bytes(u), signed_bytes(premaster), "sha256")
        key = hmac.digest(extracted, b"Caldera Derived Key\x01", "sha256")[:16]
        stamp = responses["TIMESTAMP"].encode()
        message = b"".join(
            (POOL.partition("_")[2].encode(), self.name.encode(), base64.b64decode(self.block), stamp)
        )
        wanted = base64.b64encode(hmac.digest(key, message, "sha256")).decode()
        return wanted == responses["PASSWORD_CLAIM_SIGNATURE"]


@settings(max_examples=10, deadline=None)
@given(name=st.text(min_size=1, max_size=20), password=st.text(min_size=1, max_size=30))
def test_a_user_pool_accepts_the_right_password_only(name: str, password: str) -> None:
    user = User(name, password)
    right, wrong = Exchange(POOL, password), Exchange(POOL, password + "x")
    assert user.accepts(int(right.public, 16), right.responses(user.challenge()))
    assert not user.accepts(int(wrong.public, 16), wrong.responses(user.challenge()))


class UserPool(BaseHTTPRequestHandler):
    """Answers the two calls of `cognito-idp` that a login makes."""

    users: ClassVar[dict[str, tuple[str, User]]] = {}
    publics: ClassVar[dict[str, int]] = {}
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        call = self.headers["x-amz-target"].rpartition(".")[2]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(json.dumps(body))
        status, answer = 200, self._answer(call, body)
        if answer is None:
            status, answer = (
                400,
                {"__type": "NotAuthorizedException", "message": "Incorrect username or password."},
            )
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def _answer(self, call: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if call == "InitiateAuth":
            given = body["AuthParameters"]
            password, user = self.users[given["USERNAME"]]
            if body["AuthFlow"] == "USER_PASSWORD_AUTH":
                return self._token(user) if given["PASSWORD"] == password else None
            self.publics[user.name] = int(given["SRP_A"], 16)
            return {
                "ChallengeName": "PASSWORD_VERIFIER",
                "ChallengeParameters": user.challenge(),
                "Session": "s" * 20,
            }
        assert body["Session"] == "s" * 20
        responses = body["ChallengeResponses"]
        _, user = self.users[responses["USERNAME"]]
        return self._token(user) if user.accepts(self.publics[user.name], responses) else None

    def _token(self, user: User) -> dict[str, Any]:
        return {
            "AuthenticationResult": {"AccessToken": jwt.encode({"username": user.name}, "k" * 32, "HS256")}
        }

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("APP", "app-client")
    for name in ("ann", "bob"):
        UserPool.users[name] = (f"pass of {name}", User(name, f"pass of {name}"))
    UserPool.asked.clear()
    with http_server(UserPool) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"http://127.0.0.1:{port}")
        yield


@pytest.mark.parametrize("flow", ["password", "srp"])
def test_each_client_logs_in_to_a_user_pool_as_a_user_of_its_own(flow: str, pool: None) -> None:
    said = {
        "mode": "cognito",
        "client_id_env": "APP",
        "username": "{p.name}",
        "password": "{p.word}",
        "flow": flow,
        **({"user_pool": POOL} if flow == "srp" else {}),
    }
    logins = maker(Login.model_validate(said), "localhost:1", seed="7")
    for name in ("ann", "bob"):
        credential = logins.of(0, {"p.name": name, "p.word": f"pass of {name}"})
        token = credential.headers("h")["Authorization"]
        assert jwt.decode(token, options={"verify_signature": False})["username"] == name
    with pytest.raises(CredentialError, match="refused the user: NotAuthorizedException") as caught:
        logins.of(1, {"p.name": "bob", "p.word": "canary"})
    assert "canary" not in str(caught.value)
    logins.stop()
    # With SRP the password is never sent.
    assert any("pass of ann" in each for each in UserPool.asked) is (flow == "password")
