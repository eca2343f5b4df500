"""Test the choice of a proxy by environment variables."""

import base64
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport import proxy
from loadgen.transport.proxy import Proxy, ProxySettingError, bypasses, choose

SECURE, PLAIN = "https://api.example.com/event", "http://api.example.com:8080/event"


def name_of(url: str, **environment: str) -> str | None:
    found = choose(url, environment)
    return None if found is None else f"{found.name} by {found.variable}"


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (SECURE, {}, None),
        (SECURE, {"HTTPS_PROXY": "http://p:3128"}, "p:3128 by HTTPS_PROXY"),
        ("wss://api.example.com/event/realtime", {"HTTPS_PROXY": "p:3128"}, "p:3128 by HTTPS_PROXY"),
        (SECURE, {"HTTP_PROXY": "http://p:3128"}, None),
        (PLAIN, {"HTTP_PROXY": "http://p:3128"}, "p:3128 by HTTP_PROXY"),
        ("ws://api.example.com/", {"HTTP_PROXY": "HTTP://p:3128/"}, "p:3128 by HTTP_PROXY"),
        (PLAIN, {"HTTPS_PROXY": "http://p:3128"}, None),
        # The lower-case variable takes precedence, and an empty one counts as not set.
        (SECURE, {"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "a:1 by https_proxy"),
        (SECURE, {"https_proxy": " ", "HTTPS_PROXY": "http://b:2"}, "b:2 by HTTPS_PROXY"),
        (SECURE, {"ALL_PROXY": "http://c:3"}, "c:3 by ALL_PROXY"),
        (SECURE, {"ALL_PROXY": "http://c:3", "https_proxy": "http://a:1"}, "a:1 by https_proxy"),
        (PLAIN, {"all_proxy": "c:3"}, "c:3 by all_proxy"),
        (SECURE, {"HTTPS_PROXY": "p"}, "p:80 by HTTPS_PROXY"),
        (SECURE, {"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "[2001:db8::1]:3128 by HTTPS_PROXY"),
        # In a CGI program, HTTP_PROXY is a header of the request, so anybody can set it.
        (PLAIN, {"HTTP_PROXY": "http://p:3128", "REQUEST_METHOD": "GET"}, None),
        (PLAIN, {"http_proxy": "http://p:3128", "REQUEST_METHOD": "GET"}, "p:3128 by http_proxy"),
        # The variables apply to HTTP only.
        ("tcp://broker.example.com:1883", {"ALL_PROXY": "socks5://p:1", "HTTP_PROXY": "p:1"}, None),
        ("tls://broker.example.com:8883", {"HTTPS_PROXY": "p:1"}, None),
        ("nonsense", {"HTTPS_PROXY": "p:1"}, None),
        # NO_PROXY is read before the kind of the proxy is checked.
        (SECURE, {"HTTPS_PROXY": "socks5://p:1", "NO_PROXY": "example.com"}, None),
        (SECURE, {"HTTPS_PROXY": "p:1", "no_proxy": "other", "NO_PROXY": "*"}, "p:1 by HTTPS_PROXY"),
    ],
)
def test_the_environment_says_which_proxy(
    url: str, environment: dict[str, str], expected: str | None
) -> None:
    assert name_of(url, **environment) == expected


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8700", "127.8.9.1", "localhost", "LOCALHOST:1", "api.localhost", "[::1]:9"]
)
@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
@pytest.mark.parametrize("value", ["http://p:3128", "socks5://p:1"])
def test_loopback_never_goes_through_a_proxy(scheme: str, host: str, value: str) -> None:
    everything = {"HTTP_PROXY": value, "HTTPS_PROXY": value, "ALL_PROXY": value}
    assert choose(f"{scheme}://{host}/event", everything) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("", "a.example.com", 443, False),
        ("*", "a.example.com", 443, True),
        ("example.com", "a.example.com", 443, True),
        (".example.com", "a.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "a.example.com", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("Example.COM.", "a.example.com", 443, True),
        ("x, example.com ,y", "EXAMPLE.com.", 443, True),
        ("x example.com", "example.com", 443, True),
        ("example.com:8443", "example.com", 443, False),
        ("example.com:443", "example.com", 443, True),
        ("10.0.0.0/8", "10.99.0.1", 80, True),
        ("10.0.0.0/8", "11.0.0.1", 80, False),
        ("10.0.0.7/8", "10.99.0.1", 80, True),
        ("10.99.0.1", "10.99.0.1", 80, True),
        ("10.99.0.1:81", "10.99.0.1", 80, False),
        ("0.1", "10.99.0.1", 80, False),
        ("2001:db8::/32", "2001:db8::7", 80, True),
        ("[2001:db8::7]:80", "2001:db8::7", 80, True),
        ("2001:DB8:0::7", "2001:db8::7", 80, True),
        ("10.0.0.0/99,, :80,/,example.com:x", "10.0.0.1", 80, False),
        ("10.0.0.1", "::ffff:10.0.0.1", 80, True),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(
    no_proxy: str, host: str, port: int, expected: bool
) -> None:
    assert bypasses(host, port, no_proxy) is expected


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5}){1,3}", fullmatch=True),
    st.lists(st.text(max_size=20), max_size=4),
)
def test_a_host_in_no_proxy_is_reached_directly_whatever_stands_beside_it(
    host: str, others: list[str]
) -> None:
    assert bypasses(host, 443, ",".join([*others, host]))
    assert choose(f"https://{host}/", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": f"{host},x"}) is None


def test_the_login_is_taken_and_never_shown() -> None:
    found = choose(SECURE, {"HTTPS_PROXY": "http://us%40er:p%3Aw@proxy.example:3128"})
    assert found is not None
    assert found.headers() == {
        "proxy-authorization": "Basic " + base64.b64encode(b"us@er:p:w").decode("ascii")
    }
    for shown in (repr(found), str(found), found.name, str(found.describe())):
        assert "p:w" not in shown
        assert "us" not in shown
        assert base64.b64encode(b"us@er:p:w").decode() not in shown
    assert found.describe() == {"address": "proxy.example:3128", "variable": "HTTPS_PROXY", "login": True}


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "https", "ftp"])
def test_another_kind_of_proxy_is_refused_in_a_sentence(kind: str) -> None:
    with pytest.raises(ProxySettingError) as refused:
        choose(SECURE, {"ALL_PROXY": f"{kind}://me:hunter2@p:1080"})
    assert str(refused.value) == (
        f"ALL_PROXY names a proxy of the kind {kind}, which is not supported: only HTTP proxies (http://HOST:PORT) are;"
        " name one, or go directly with --no-proxy or NO_PROXY"
    )


@pytest.mark.parametrize(
    "value",
    [
        "http://",
        "http://me:hun#ter2@p:3128",
        "http://me:hun/ter2@p:3128",
        "http://me:hun?ter2@p:3128",
        "http://p:99999",
        "http://p:0",
        "http://p:hunter2",
        "http://p p:3128",
        "http://p\r\nx:3128",
        "http://[::1",
        "://hunter2",
        "hunter2://hun ter2",
    ],
)
def test_what_cannot_be_read_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(ProxySettingError) as refused:
        choose(SECURE, {"HTTPS_PROXY": value})
    assert str(refused.value).startswith("HTTPS_PROXY names ")
    for secret in ("hun", "ter2"):
        assert secret not in str(refused.value).replace("hunter2, which is not supported", "")


@given(st.text(max_size=60))
def test_any_value_is_a_proxy_or_a_sentence(value: str) -> None:
    found = None
    with suppress(ProxySettingError):
        found = choose(SECURE, {"HTTPS_PROXY": value})
    assert found is None or (found.name.isascii() and found.name.isprintable() and " " not in found.name)


def test_this_process_takes_its_environment_and_can_be_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://u:hunter2@p:3128")
    url = "https://192.0.2.7/event"
    assert proxy.route(url) == Proxy("p", 3128, "HTTPS_PROXY", "Basic dTpodW50ZXIy")
    assert proxy.routes(url, "wss://192.0.2.7/x", None, "https://127.0.0.1/") == [
        {
            "address": "p:3128",
            "variable": "HTTPS_PROXY",
            "login": True,
            "to": ["https://192.0.2.7:443", "wss://192.0.2.7:443"],
        }
    ]
    assert proxy.sentence(proxy.routes(url)) == (
        "connections to https://192.0.2.7:443 go through the proxy p:3128 (HTTPS_PROXY); --no-proxy goes directly"
    )
    proxy.switch_off()
    try:
        assert proxy.route(url) is None
        monkeypatch.setenv("HTTPS_PROXY", "socks5://p:1")
        assert proxy.route(url) is None
    finally:
        proxy.switch_off(False)


def test_a_name_of_ones_own_for_loopback_goes_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    known = {
        "here.example": ["127.0.1.1", "::1"],
        "there.example": ["127.0.0.1", "192.0.2.1"],
        "gone.example": [],
    }

    def look_up(host: str, *_args: object, **_options: object) -> list[tuple[object, ...]]:
        if not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr("gevent.socket.getaddrinfo", look_up)
    proxy._leads_to_loopback.cache_clear()
    assert proxy.route("https://here.example/event") is None
    # The proxy is used if any address of the name is on another machine. It is also used for a name that
    # cannot be resolved here, because the proxy may be able to.
    assert proxy.route("https://there.example/event") is not None
    assert proxy.route("https://gone.example/event") is not None
    proxy._leads_to_loopback.cache_clear()
