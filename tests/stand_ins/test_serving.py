"""Test the parts of the stand-ins' command line that need no server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loadgen.stand_ins import __main__, registry
from loadgen.stand_ins.registry import STAND_INS, StandIn, StandInError
from loadgen.stand_ins.serving import StandInConfig


def config(
    options: Sequence[str] = (), environment: Mapping[str, str] | None = None, **more: Any
) -> StandInConfig:
    """Return a stand-in's settings for these options, with defaults for the others."""
    given: dict[str, Any] = {
        "service": "appsync-graphql",
        "api_key_env": None,
        "journal": None,
        "host": "127.0.0.1",
        "port": 0,
        "certfile": None,
        "keyfile": None,
        **more,
    }
    return StandInConfig.from_options(options=options, environment=environment or {}, **given)


def test_options_are_handed_to_the_service_by_name() -> None:
    made = config(["lose-every=3", "api=a=b"], journal=Path("lost.jsonl"))
    assert made.settings.options == {"lose-every": "3", "api": "a=b"}
    assert made.settings.journal == Path("lost.jsonl")


def test_the_key_comes_from_the_environment_and_is_not_shown() -> None:
    made = config(api_key_env="KEY", environment={"KEY": "da2-secret"})
    assert made.settings.api_key == "da2-secret"
    assert made.api_key_source == "$KEY"
    assert "da2-secret" not in repr(made)


def test_each_generated_key_is_new() -> None:
    assert config().settings.api_key != config().settings.api_key


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        (["lose-every"], {}, "'lose-every' is not NAME=VALUE"),
        (["=3"], {}, "'=3' is not NAME=VALUE"),
        (["a=1", "a=2"], {}, "'a' is given twice"),
        ([], {"service": "appsync"}, "'appsync' is not known: it may be appsync-graphql or api-gateway"),
        ([], {"port": 70_000}, "port 70000 is not a port"),
        ([], {"certfile": Path("a.pem")}, "TLS needs both"),
        ([], {"api_key_env": "KEY"}, "'KEY' holds no API key"),
    ],
)
def test_a_bad_option_is_said_in_one_sentence(options: list[str], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(options, **more)


def test_the_urls_name_the_port_and_tls() -> None:
    made = config(certfile=Path("a.pem"), keyfile=Path("a.key"), host="::")
    assert made.url(("graphql+http", "/graphql"), 8443) == "graphql+https://[::1]:8443/graphql"


@pytest.mark.parametrize("module", ["loadgen.stand_ins.missing", "loadgen.stand_ins.settings"])
def test_a_package_that_is_missing_or_no_stand_in_is_named(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = StandIn("Some Service", module, ("http", "/"), ("ws", "/"), ("ws", "/"))
    with pytest.raises(StandInError, match=r"the stand-in of Some Service cannot be loaded \(.*\)"):
        broken.build()
    monkeypatch.setitem(registry.STAND_INS, "broken", broken)
    assert __main__.main(["--service", "broken"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("loadgen server: the stand-in of Some Service cannot be loaded")
    assert len(said.err.splitlines()) == 1


def test_every_stand_in_is_imported_only_when_it_is_started() -> None:
    assert {each.module for each in STAND_INS.values()} == {
        "loadgen.stand_ins.appsync_graphql.app",
        "loadgen.stand_ins.api_gateway.app",
    }
