"""Test how the URLs of targets are read and quoted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.urls import EndpointError, in_url, port_suffix, shown, split

SECRETS = st.text("abc%+", min_size=1, max_size=9).map("s3cret-{}".format)


@given(SECRETS, SECRETS, SECRETS)
def test_a_quoted_url_has_no_part_that_may_be_secret(user: str, query: str, fragment: str) -> None:
    for url in (f"wss://{user}:{user}@h/p?{query}#{fragment}", f"x{user}@h/p#{fragment}?{query}"):
        assert "s3cret" not in shown(url)
        assert shown(url).endswith("h/p'")


def test_a_url_is_split_into_its_parts_and_its_port() -> None:
    parts, port = split(" wss://[::1]:70/p?q=1 ", "")
    assert (parts.scheme, parts.hostname, parts.path, parts.query, port) == ("wss", "::1", "/p", "q=1", 70)
    assert split("wss://h", "")[1] is None


@pytest.mark.parametrize("url", ["wss://h:x", "wss://h:70000", "wss://[::1"])
def test_a_url_that_cannot_be_read_is_quoted(url: str) -> None:
    with pytest.raises(EndpointError, match="cannot be read"):
        split(url + "/p?token=s3cret", "")


@pytest.mark.parametrize("user", ["u:s3cret@", "u@", ":s3cret@", "@"])
def test_a_url_with_a_login_is_refused_without_quoting_it(user: str) -> None:
    with pytest.raises(EndpointError) as caught:
        split(f"wss://{user}h/p", "use --auth")
    assert str(caught.value) == "the URL holds a user name or password: use --auth"


def test_hosts_and_ports_are_written_as_urls_have_them() -> None:
    assert (in_url("h"), in_url("::1")) == ("h", "[::1]")
    assert [port_suffix(port, tls=True) for port in (None, 443, 80)] == ["", "", ":80"]
    assert [port_suffix(port, tls=False) for port in (None, 443, 80)] == ["", ":443", ""]
