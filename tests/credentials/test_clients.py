"""Test credentials of single clients: taken from data columns, signed by the harness, and fetched at a limited rate."""

import json
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import gevent
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from loadgen.credentials import clients
from loadgen.credentials.clients import Maker, maker
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.fetching import Fetching, Pace
from loadgen.credentials.minting import MintedToken, Minter
from loadgen.credentials.refreshing import FetchedToken
from loadgen.credentials.spread import EARLIEST, LATEST, renew_at_s
from loadgen.scenario.login import Login
from loadgen.scenario.login_columns import columns_of, filled, filled_json
from tests.listening import http_server

HOST = "abc.appsync-api.eu-west-1.amazonaws.com"
SECRET = "canary-4711"


def made(said: dict[str, Any], **more: Any) -> Maker:
    return maker(Login.model_validate(said), HOST, seed="7", **more)


def token_of(credential: Any) -> str:
    value: str = credential.headers("h", b"{}")["Authorization"]
    return value


def write_key(path: Path, *, rsa_key: bool = False) -> Any:
    key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key()


# Columns.


def test_only_a_name_with_a_column_is_a_column_in_a_login() -> None:
    assert list(columns_of(["{a.b}-{c.d.e}", {"x": "{f.g}"}, "{print $1}", "${HOME}", "{a}", 7, None])) == [
        "a.b",
        "c.d.e",
        "f.g",
    ]
    assert filled("awk '{print $1}' {a.b}", {"a.b": 7}) == "awk '{print $1}' 7"
    assert filled_json({"n": "{a.b}", "t": "<{a.b}>", "l": ["{a.c}"]}, {"a.b": 7, "a.c": {"x": 1}}) == {
        "n": 7,
        "t": "<7>",
        "l": [{"x": 1}],
    }


def test_each_client_has_the_token_key_or_password_of_its_row() -> None:
    tokens = made({"mode": "lambda", "token": "tok-{p.t}"})
    found = [tokens.of(n, {"p.t": f"{SECRET}-{n}"}) for n in range(2)]
    assert [token_of(each) for each in found] == [f"tok-{SECRET}-0", f"tok-{SECRET}-1"]
    assert SECRET not in repr(found)
    key = made({"mode": "api-key", "key": "{p.k}"}).of(0, {"p.k": SECRET})
    assert key.headers("h") == {"x-api-key": SECRET}
    with pytest.raises(CredentialError) as caught:
        made({"mode": "api-key", "key": "{p.k}"}).of(0, {"p.k": f"{SECRET} ü"})
    assert SECRET not in str(caught.value)
    user = made({"mode": "password", "username": "{p.n}", "password": "{p.w}"}).of(
        0, {"p.n": "ann", "p.w": 7}
    )
    assert (user.username, user.password) == ("ann", "7")


def test_a_login_without_a_column_is_one_credential_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", SECRET)
    shared = made({"mode": "lambda", "token_env": "ONE"})
    assert shared.of(1, {}) is shared.of(2, {})


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"mode": "lambda", "token": SECRET}, "has a token without a column of data"),
        ({"mode": "lambda", "token": "{p.t}", "token_env": "X"}, "more than one source"),
        ({"mode": "api-key", "key": "{p.t}", "key_env": "X"}, "two sources of the key, key_env and key"),
        ({"mode": "password", "username_env": "A", "password": SECRET}, "has a password without a column"),
        ({"mode": "password", "username": "{p.u}"}, "has no password_env"),
        ({"mode": "lambda", "token": "{p.t}", "rate": "5/s"}, "has a rate, and its source needs none"),
        ({"mode": "cognito", "client_id_env": "A", "username": "{p.u}", "password": "{p.w}", "flow": "srp"},
         "has no user_pool"),
        ({"mode": "oidc", "token_url": "http://x/", "client_id_env": "A", "username": "{p.u}"}, "has no password_env"),
        ({"mode": "oidc", "jwt": {"key_file": "k", "claims": {"exp": 7}}}, "has the claim exp"),
        ({"mode": "iam", "token": "{p.t}"}, "has token, which mode iam does not take"),
    ],
)  # fmt: skip
def test_a_login_that_does_not_fit_together_is_one_sentence_without_a_secret(
    said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Login.model_validate(said)
    # The error's full text in Pydantic quotes the input. The harness's messages use only `msg` of each error
    # (config.messages), so check that this has no secret.
    (error,) = caught.value.errors(include_input=False, include_url=False)  # type: ignore[attr-defined]
    assert SECRET not in error["msg"]


@pytest.mark.parametrize(
    ("said", "described"),
    [
        ({"mode": "lambda", "token": "{p.t}"}, "lambda from column p.t of people.csv"),
        ({"mode": "api-key", "key": "{p.t}"}, "api-key from column p.t of people.csv"),
        (
            {"mode": "oidc", "jwt": {"key_file": "k.pem", "claims": {"sub": "{p.i}"}}},
            "oidc from JWTs signed here by 'k.pem', for each client by column p.i of people.csv",
        ),
        (
            {"mode": "lambda", "token_command": ["get", "{p.i}"]},
            "lambda from a command, for each client by column p.i of people.csv",
        ),
        (
            {
                "mode": "cognito",
                "client_id_env": "A",
                "username": "{p.u}",
                "password": "{p.w}",
                "flow": "srp",
                "user_pool": "eu_x",
            },
            "cognito from a user pool, flow srp, for each client by column p.u of people.csv and column p.w of"
            " people.csv",
        ),
    ],
)
def test_the_source_of_a_login_is_told_and_not_its_values(said: dict[str, Any], described: str) -> None:
    assert Login.model_validate(said).describe({"p": "people.csv"}) == described


# Made here.


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_minted_token_has_the_claims_of_its_client_and_is_verified_by_the_public_key(
    algorithm: str, tmp_path: Path
) -> None:
    public = write_key(tmp_path / "k.pem", rsa_key=algorithm == "RS256")
    said = {
        "mode": "oidc",
        "jwt": {
            "key_file": str(tmp_path / "k.pem"),
            "kid": "k1",
            "algorithm": algorithm,
            "expires": "1h",
            "claims": {"iss": "https://i", "sub": "{p.id}", "level": "{p.n}", "groups": ["g-{p.n}"]},
        },
    }
    token = token_of(made(said).of(3, {"p.id": "u3", "p.n": 5}))
    claims = jwt.decode(token, public, [algorithm], issuer="https://i")
    assert (claims["sub"], claims["level"], claims["groups"]) == ("u3", 5, ["g-5"])
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(token)["kid"] == "k1"


def test_a_minted_token_is_renewed_before_it_expires_at_a_moment_of_each_client(tmp_path: Path) -> None:
    write_key(tmp_path / "k.pem")
    login = Login.model_validate(
        {
            "mode": "oidc",
            "jwt": {"key_file": str(tmp_path / "k.pem"), "algorithm": "ES256", "expires": "100s"},
        }
    )
    assert login.jwt is not None
    now = [1_000.0]
    minter = Minter(login.jwt, lambda: now[0])
    tokens = [MintedToken(minter, "7", number, {}) for number in range(300)]
    renewed_s: dict[int, float] = {}
    for second in range(100):
        now[0] = 1_000.0 + second
        for number, token in enumerate(tokens):
            token()
            if token.renewals and number not in renewed_s:
                renewed_s[number] = second
    assert len(renewed_s) == 300
    assert 50 <= min(renewed_s.values()) < 55
    assert 75 < max(renewed_s.values()) <= 81
    busiest = max(sum(at == second for at in renewed_s.values()) for second in range(100))
    assert busiest < 30, "300 renewals over 30 s make some 10 a second"


@given(
    now_s=st.floats(0, 1e10),
    lifetime_s=st.floats(0, 1e6),
    seed=st.text(max_size=5),
    number=st.integers(0, 1 << 30),
    turn=st.integers(0, 99),
)
def test_a_renewal_comes_between_half_and_four_fifths_of_the_lifetime_and_the_seed_sets_when(
    now_s: float, lifetime_s: float, seed: str, number: int, turn: int
) -> None:
    at_s = renew_at_s(now_s, now_s + lifetime_s, seed, number, turn)
    lifetime_s = now_s + lifetime_s - now_s
    assert now_s + EARLIEST * lifetime_s <= at_s <= now_s + LATEST * lifetime_s
    assert at_s == renew_at_s(now_s, now_s + lifetime_s, seed, number, turn)


@pytest.mark.parametrize(
    ("content", "algorithm", "sentence"),
    [
        (None, "RS256", "cannot be read"),
        ("no key", "RS256", "is no private key in PEM form"),
        ("ec", "RS256", "is not an RSA key, which RS256 needs"),
        ("rsa", "ES256", "is not a key of the curve P-256"),
    ],
)
def test_a_key_that_cannot_sign_is_one_sentence(
    content: str | None, algorithm: str, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "k.pem"
    if content in ("ec", "rsa"):
        write_key(path, rsa_key=content == "rsa")
    elif content is not None:
        path.write_text(content)
    with pytest.raises(CredentialError, match=sentence):
        made({"mode": "oidc", "jwt": {"key_file": str(path), "algorithm": algorithm}})


# Fetched.


def test_a_pace_spaces_turns_evenly_and_lets_the_first_go_at_once() -> None:
    now, waits = [100.0], list[float]()
    pace = Pace(4, lambda: now[0], waits.append)
    for _ in range(4):
        pace.wait()
    assert waits == pytest.approx([0.25, 0.5, 0.75])
    now[0] = 200.0
    pace.wait()
    assert len(waits) == 3


def test_the_rate_is_divided_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(clients, "Pace", rates.append)
    said: dict[str, Any] = {"mode": "lambda", "token_command": ["get", "{p.i}"], "rate": "30/s"}
    made(said, workers=3)
    made({key: value for key, value in said.items() if key != "rate"}, workers=2)
    assert rates == [10.0, 10.0]


def test_each_client_fetches_its_token_once_and_it_is_renewed_before_it_expires() -> None:
    asked: list[str] = []

    def fetch(values: Mapping[str, Any]) -> FetchedToken:
        asked.append(values["p.i"])
        return FetchedToken(f"{values['p.i']}-{asked.count(values['p.i'])}", now[0] + 2.0)

    # The test sets the clock, so that no token is renewed too early on a busy machine.
    now = [100.0]
    fetching = Fetching(fetch, "7", Pace(1000), clock=lambda: now[0])
    tokens = [fetching.token(number, {"p.i": f"u{number}"}) for number in range(5)]
    assert [token() for token in tokens] == [f"u{number}-1" for number in range(5)]
    now[0] = 100.99
    gevent.sleep(1.2)
    assert len(asked) == 5, "none is renewed before half of its lifetime"
    now[0] = 101.61
    with gevent.Timeout(30):
        while any(token().endswith("-1") for token in tokens):
            gevent.sleep(0.01)
    fetching.stop()
    assert {token()[:2] for token in tokens} == {f"u{number}" for number in range(5)}


def test_a_renewal_that_fails_is_told_by_the_client_and_the_old_token_stays() -> None:
    told: list[tuple[int, str]] = []
    turns = iter([FetchedToken("first", gevent.get_hub().loop.now() + 1.0)])

    def fetch(values: Mapping[str, Any]) -> FetchedToken:
        try:
            return next(turns)
        except StopIteration:
            raise CredentialError("the token endpoint answered HTTP 503") from None

    clock = gevent.get_hub().loop.now
    fetching = Fetching(fetch, "7", Pace(1000), lambda number, said: told.append((number, said)), clock)
    token = fetching.token(3, {})
    with gevent.Timeout(30):
        while not told:
            gevent.sleep(0.01)
    fetching.stop()
    assert told == [(3, "its token could not be renewed: the token endpoint answered HTTP 503")]
    assert token() == "first"


class Endpoint(BaseHTTPRequestHandler):
    """A stand-in for a token endpoint; the path of a request selects the answer."""

    asked: ClassVar[list[tuple[str, str, dict[str, list[str]], str | None]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        self.asked.append((self.command, self.path, parse_qs(body), self.headers.get("authorization")))
        status, text = {
            "/plain": (200, "plain-token\n"),
            "/json": (200, json.dumps({"token": "json-token", "expires_in": 60})),
            "/empty": (200, "{}"),
            "/broken": (200, "\xff two\nlines"),
        }.get(self.path.partition("?")[0], (403, SECRET))
        if self.path.startswith("/oauth"):
            status, text = 200, json.dumps({"access_token": "granted", "expires_in": 60})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode("latin-1"))

    do_GET = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.asked.clear()
    with http_server(Endpoint) as port:
        yield f"http://127.0.0.1:{port}"


def test_an_endpoint_is_asked_for_each_client_with_its_own_values(endpoint: str) -> None:
    fetcher = made({"mode": "lambda", "token_url": f"{endpoint}/plain?user={{p.i}}", "rate": "100/s"})
    assert token_of(fetcher.of(0, {"p.i": "a/b&c"})) == "plain-token"
    assert Endpoint.asked == [("GET", "/plain?user=a%2Fb%26c", {}, None)]
    fetcher.stop()
    fetcher = made({"mode": "lambda", "token_url": f"{endpoint}/json?u={{p.i}}"})
    assert token_of(fetcher.of(0, {"p.i": 1})) == "json-token"
    fetcher.stop()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/no", "answered HTTP 403"), ("/empty", "has no access_token"), ("/broken", "token endpoint")],
)
def test_an_endpoint_without_a_token_is_one_sentence_without_its_answer(
    path: str, sentence: str, endpoint: str
) -> None:
    fetcher = made({"mode": "lambda", "token_url": f"{endpoint}{path}?u={{p.i}}"})
    with pytest.raises(CredentialError, match=sentence) as caught:
        fetcher.of(0, {"p.i": "ann"})
    assert SECRET not in str(caught.value)
    assert "ann" not in str(caught.value)
    fetcher.stop()


def test_the_password_grant_sends_user_and_password_of_the_client(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP", "app")
    said = {
        "mode": "oidc",
        "token_url": f"{endpoint}/oauth",
        "client_id_env": "APP",
        "username": "{p.u}",
        "password": "{p.w}",
    }
    fetcher = made(said)
    assert token_of(fetcher.of(0, {"p.u": "ann", "p.w": SECRET})) == "granted"
    fetcher.stop()
    ((_, _, form, authorization),) = Endpoint.asked
    assert form == {
        "grant_type": ["password"],
        "username": ["ann"],
        "password": [SECRET],
        "client_id": ["app"],
    }
    assert authorization is None


def test_a_command_runs_with_the_words_of_each_client() -> None:
    code = "import sys; print('tok-' + sys.argv[1])"
    fetcher = made({"mode": "oidc", "token_command": [sys.executable, "-c", code, "{p.i}"]})
    assert [token_of(fetcher.of(n, {"p.i": f"u{n}"})) for n in range(2)] == ["tok-u0", "tok-u1"]
    fetcher.stop()
