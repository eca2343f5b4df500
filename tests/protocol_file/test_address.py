"""Test that a protocol file cannot redirect data or choose secrets."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.credentials.allowed import Allowed
from loadgen.exits import RunError
from loadgen.protocol.generic.service import TargetUrl, TargetUrlError
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.target import Target

FILE = """\
version: 1
connect: {{url: "{url}", messages: json, headers: {{x-a: "{header}"}}, subprotocols: ["{subprotocol}"]}}
opening: [{{send: {{type: hello, k: "{opening}"}}}}]
subscribe: {{send: {{type: subscribe, id: "{{id}}", k: "{subscribe}"}}, accepted: {{when: {{/type: ok}}, id: /id}}}}
publish:
  websocket: {{send: {{type: pub, to: "{{channel}}", data: "{{event}}", k: "{publish}"}}}}
  http: {{url: "{http}", headers: {{x-b: "{http_header}"}}, body: '{{channel}} {{event}} {body}'}}
deliver: {{when: {{/type: message}}, id: /id, event: /data}}
keepalive: {{send: "{keepalive}", every: 9s}}
replies: [{{on: {{when: {{/type: ping}}}}, send: "{reply}"}}]
"""
PLACES = (
    *(
        "header",
        "subprotocol",
        "opening",
        "subscribe",
        "publish",
        "http_header",
        "body",
        "keepalive",
        "reply",
    ),
    *("url", "http"),
)


def written(**given: str) -> str:
    plain = dict.fromkeys(PLACES, "x") | {"url": "{target}/ws", "http": "{target}/pub"}
    return FILE.format(**{**plain, **given})


def target(folder: Path, text: str, url: str = "ws://127.0.0.1:9") -> str:
    file = folder / f"test-{abs(hash(text))}.yaml"
    file.write_text(text)
    return f"{file}+{url}"


@pytest.mark.parametrize("place", PLACES)
def test_a_variable_is_filled_in_nowhere_without_permission(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_SECRET", "canary")
    value = {"url": "{target}/ws?k={env:SOME_SECRET}", "http": "{target}/{env:SOME_SECRET}"}
    name = target(tmp_path, written(**{place: value.get(place, "a{env:SOME_SECRET}")}))
    for allowed in (Allowed(), Allowed.of(["OTHER"]), Allowed.of(files=["/"], commands=True)):
        with pytest.raises(RunError) as caught:
            Target.of(name, None, allowed=allowed)
        assert "names the environment variable SOME_SECRET, whose value would go to 127.0.0.1:9" in str(
            caught.value
        )
        assert "canary" not in str(caught.value)
        # A worker has only the permissions of its own command line.
        payload = Target(name, allowed=Allowed.of(["SOME_SECRET"])).to_payload()
        with pytest.raises(RunError, match="--allow-env SOME_SECRET"):
            Target.from_payload(payload, allowed).service()
    Target.of(name, None, allowed=Allowed.of(["SOME_SECRET"]))
    Target.from_payload(payload, Allowed.of(["SOME_SECRET"])).service()


def test_no_other_variable_is_within_reach_of_an_allowed_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_SECRET", "canary")
    monkeypatch.setenv("OTHER_SECRET", "canary-2")
    name = target(tmp_path, written(header="{env:SOME_SECRET}", body="{env:OTHER_SECRET}"))
    with pytest.raises(RunError, match="--allow-env OTHER_SECRET"):
        Target.of(name, None, allowed=Allowed.of(["SOME_SECRET"]))


@pytest.mark.parametrize(
    "url",
    [
        "ws://192.0.2.2:18777/x",
        "ws://127.0.0.1:10/x",
        "ws://127.0.0.1/x",
        "wss://127.0.0.1:9/x",
        "ws://127.0.0.1:9@192.0.2.2/x",
        "ws://user@127.0.0.1:9/x",
        "ws://localhost:9/x",
        "ws://127.0.0.1.example.com:9/x",
        "ws://127.0.0.1:9\\\\@192.0.2.2/x",
        "ws://[::1]:9/x",
    ],
)
@pytest.mark.parametrize("key", ["connect.url", "publish.http.url"])
def test_everything_goes_to_the_host_and_port_of_the_target(url: str, key: str, tmp_path: Path) -> None:
    given = {"url": url} if key == "connect.url" else {"http": url.replace("ws", "http", 1)}
    name = target(tmp_path, written(**given))
    with pytest.raises(RunError, match=f"--target: {key} of the protocol file leads to") as caught:
        Target.of(name, None)
    assert "'ws://127.0.0.1:9': everything goes to the target's host and port" in str(caught.value)


def test_a_literal_address_that_is_the_targets_is_taken(tmp_path: Path) -> None:
    for url in ("ws://127.0.0.1:9/x", "{target}", "{target}/x", "{target}?a=b"):
        service = Target.of(target(tmp_path, written(url=url)), None).service()
        assert service.connect_url.startswith("ws://127.0.0.1:9")
    for url, of_target in (("wss://h/x", "wss://h"), ("ws://h:80/x", "ws://h"), ("ws://H:8/x", "ws://h:8")):
        assert Target.of(target(tmp_path, written(url=url, http="{target}"), of_target), None)


@given(
    st.from_regex(r"[a-z0-9.:@/?#\\\\\[\]%]{0,20}", fullmatch=True), st.sampled_from(["ws", "wss", "http"])
)
def test_whatever_stands_there_leads_to_the_target_or_is_refused(rest: str, scheme: str) -> None:
    from urllib.parse import urlsplit

    own = TargetUrl.parse("ws://h:7/base")
    url = f"{scheme}://{rest}"
    try:
        own.demand("connect.url", url)
    except TargetUrlError:
        return
    parts = urlsplit(url)
    assert (parts.scheme in ("ws", "http"), parts.hostname, parts.port, parts.username) == (
        True,
        "h",
        7,
        None,
    )


def test_a_scenario_that_names_the_target_gets_no_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "canary")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(written(header="{env:SOME_SECRET}"))
    url = "mine.yaml+ws://127.0.0.1:9"
    run = resolve(load("chat", {"target.url": url}))
    allowed = Allowed.of(["SOME_SECRET"])
    with pytest.raises(
        RunError, match=r"the target stands in the scenario, and .* on the command line, as --target 'mine"
    ):
        Target.resolve(run, None, None, allowed=allowed)
    assert Target.resolve(run, url, None, allowed=allowed)
    with pytest.raises(RunError, match=r"the target stands in locust\.conf:2, and its protocol file names"):
        Target.resolve(run, url, None, allowed=allowed, url_from="locust.conf:2")


def test_the_case_that_was_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    case = Path("/work/shared/cases/literal-address.yaml")
    if not case.exists():
        pytest.skip("the case is not here")
    monkeypatch.chdir(tmp_path)
    shutil.copy(case, tmp_path / "evil.yaml")
    with pytest.raises(
        RunError, match=r"leads to 'ws://192\.0\.2\.2:18777', and the target is 'ws://127\.0\.0\.1:9'"
    ):
        Target.of("evil.yaml+ws://127.0.0.1:9", None, allowed=Allowed.of(["AWS_SECRET_ACCESS_KEY"]))
