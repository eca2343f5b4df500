"""Test the file that describes an Event API: each mistake in it gives one sentence with its line."""

import os
from pathlib import Path

import pytest

from loadgen.server.api_file import define, load_api_file, quotas_of
from loadgen.server.api_keys import ConfigError
from loadgen.server.config import ServerConfig
from loadgen.server.quotas import Quotas


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "api.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        define(load_api_file(path), tmp_path, "da2-key", {})
    return [line.removeprefix(f"{tmp_path}{os.sep}") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("namespace: {}", "api.yaml:1: namespace is not a known key; did you mean 'namespaces'?"),
        ("- a", "api.yaml:1: the API file must be a mapping such as {namespaces: {chat: {}}}"),
        (
            "namespaces:\n  a:\n    publish: [API-KEY]",
            "api.yaml:3: namespaces.a.publish.0 must be 'API_KEY', 'AWS_IAM', 'AMAZON_COGNITO_USER_POOLS', "
            "'OPENID_CONNECT' or 'AWS_LAMBDA', not 'API-KEY'",
        ),
        (
            "namespaces: {a-: {}}",
            "namespace 'a-' is not one: 1-50 letters, digits and dashes, no dash at either end",
        ),
        (
            "namespaces: {a: {publish: [AWS_IAM]}}",
            "namespaces.a.publish allows AWS_IAM, which auth does not describe: add 'auth.iam'",
        ),
        (
            "auth: {connect: [AWS_LAMBDA]}",
            "auth.connect allows AWS_LAMBDA, which auth does not describe: add 'auth.lambda'",
        ),
        (
            "auth: {iam: {users: [{access_key_id: AK, secret_env: NO_SUCH}]}}",
            "environment variable 'NO_SUCH' is not set: export it, or take its user out of the API file",
        ),
        ("auth: {oidc: {issuer: x, jwks: gone.json}}", "the JWKS file"),
        ("auth: {oidc: {issuer: x, jwks: api.yaml}}", "is not a JSON Web Key Set"),
        ("auth: {lambda: {function: 'a.py:f', ttl: 2h}}", "api.yaml:1: auth.lambda has a ttl above 3600s"),
        (
            "namespaces: {a: {on_publish: handlers}}",
            "namespaces.a.on_publish must be module:function or path/to/file.py:function, not 'handlers'",
        ),
        (
            "namespaces: {a: {on_publish: {lamda: 'a.py:f'}}}",
            "namespaces.a.on_publish.lamda is not a known key; did you mean 'lambda'?",
        ),
        (
            "namespaces: {a: {on_subscribe: {lambda: 3}}}",
            "namespaces.a.on_subscribe.lambda must be text, not 3",
        ),
        (
            "namespaces: {a: {on_subscribe: {lambda: 'a.py:f'}}}",
            "'a.py:f' cannot be loaded: FileNotFoundError",
        ),
        ("namespaces: {a: {on_publsh: 'a.py:f'}}", "is not a known key; did you mean 'on_publish'?"),
        ("quotas: {connections: fast}", "api.yaml:1: quotas.connections"),
        ("quotas: lots", "api.yaml:1: quotas"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    (line,) = problems(tmp_path, text)
    assert sentence in line


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        load_api_file(tmp_path / "gone.yaml")


def test_namespaces_and_file_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text("namespaces: {a: }")
    with pytest.raises(ConfigError, match="two ways"):
        ServerConfig.from_options(
            api_key_env=None, api_file=path, quotas=None, faults=None, environment={}, namespaces=["b"]
        )


def test_the_option_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text("quotas: aws\nnamespaces: {a: , b: {publish: [API_KEY]}}")
    for option, quotas in {None: Quotas.aws(), "off": Quotas.off(), "limits": Quotas()}.items():
        config = ServerConfig.from_options(
            api_key_env=None, api_file=path, quotas=option, faults=None, environment={}, namespaces=None
        )
        assert config.quotas == quotas
        assert config.namespaces == ("a", "b")


def test_an_empty_file_is_the_default_api(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text("")
    file = load_api_file(path)
    assert list(file.namespaces) == ["default"]
    assert quotas_of(file.quotas) == Quotas()
