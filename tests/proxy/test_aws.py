"""Test the use of proxies by AWS's library, which reads the proxy variables itself.

The harness adds only the `--no-proxy` option, and an error for a kind of proxy that it does not support.
"""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("boto3")

from loadgen.aws.access import Access, AwsError
from loadgen.credentials import aws_clients
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode
from loadgen.transport import proxy


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    yield
    proxy.switch_off(False)


def proxies_of(client: Any) -> dict[str, str]:
    found: dict[str, str] = client._endpoint.http_session._proxy_config._proxies
    return found


def test_it_reads_the_environment_and_obeys_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    access = Access(None, "eu-west-1")
    for off, expected in ((False, {"https": "http://p:3128"}), (True, {})):
        proxy.switch_off(off)
        assert proxies_of(access.session().client("sts")) == expected
        assert (
            proxies_of(aws_clients.session_of(None).create_client("sts", region_name="eu-west-1")) == expected
        )


def test_a_kind_that_is_not_supported_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hunter2@p:1080")
    with pytest.raises(AwsError, match="HTTPS_PROXY names a proxy of the kind socks5") as refused:
        Access(None, "eu-west-1").session()
    assert refused.value.code == ExitCode.USAGE
    with pytest.raises(CredentialError, match="HTTPS_PROXY names a proxy of the kind socks5") as again:
        aws_clients.session_of(None)
    assert "hunter2" not in str(refused.value) + str(again.value)
