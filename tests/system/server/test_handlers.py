"""Test channel namespace handlers: filter, transform, reject, and faulty handlers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadgen.server.__main__ import main as server_main
from loadgen.server.process import Announcement, ServerProcess, ServerStartError
from tests.system.server.conftest import Client
from tests.system.server.posting import post

HANDLERS = """
import asyncio
from loadgen.server.handlers import HandlerError, Unauthorized

def transform(ctx):
    out = []
    for event in ctx.events:
        payload = event["payload"]
        if payload == "drop":
            continue
        if payload == "bad":
            out.append({"id": event["id"], "error": "no bad words"})
        elif payload == "grow":
            out.append({"id": event["id"], "payload": "x" * 300_000})
        else:
            where = ctx.info.channel.path, list(ctx.info.channel.segments), ctx.info.channel_namespace.name
            out.append({"id": event["id"], "payload": {"was": payload, "where": where, "op": ctx.info.operation}})
    return out

async def later(ctx):
    await asyncio.sleep(0.01)
    return [*reversed(ctx.events)]

def nothing(ctx):
    return None

def refuse(ctx):
    what = ctx.events[0]["payload"] if ctx.events else ctx.info.channel.segments[-1]
    if what == "util-error":
        raise HandlerError("not today", "TeapotError")
    if what == "unauthorized":
        raise Unauthorized
    if what == "bug":
        raise KeyError("secret detail")
    if what == "unknown-id":
        return [{"id": "elsewhere", "payload": 1}]
    if what == "repeated-id":
        return ctx.events * 2
    if what == "no-list":
        return 7
    if what == "headers":
        return [{"id": ctx.events[0]["id"], "payload": dict(ctx.request.headers)}]
    if what == "*":
        assert ctx.info.channel.path == "/refuse/*"
        raise Unauthorized
    return ctx.events

not_a_function = 1
"""
FILE = """
namespaces:
  transform: {on_publish: "handlers.py:transform"}
  later: {on_publish: "handlers.py:later"}
  nothing: {on_publish: "handlers.py:nothing"}
  refuse: {on_publish: "handlers.py:refuse", on_subscribe: "handlers.py:refuse"}
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Announcement]:
    folder = tmp_path_factory.mktemp("handlers")
    (folder / "handlers.py").write_text(HANDLERS)
    (folder / "api.yaml").write_text(FILE)
    with ServerProcess(["--api", str(folder / "api.yaml")]) as process:
        yield process.announcement


def said(api: Announcement, channel: str, *payloads: Any, **headers: str) -> httpx.Response:
    return post(api, channel, *map(json.dumps, payloads), headers=headers)


def test_events_are_transformed_filtered_and_failed(api: Announcement, client: Callable[..., Client]) -> None:
    reader = client(api)
    reader.subscribe("/transform/*")
    answer = said(api, "/transform/a/b", 1, "drop", "bad", "grow", [2]).json()
    assert [event["index"] for event in answer["successful"]] == [0, 1, 4]
    assert [(event["index"], event["message"]) for event in answer["failed"]] == [
        (2, "no bad words"),
        (3, "Transformed event is larger than 240KB"),
    ]
    where = ["/transform/a/b", ["transform", "a", "b"], "transform"]
    assert [json.loads(reader.receive()["event"]) for _ in range(2)] == [
        {"was": 1, "where": where, "op": "PUBLISH"},
        {"was": [2], "where": where, "op": "PUBLISH"},
    ]
    assert reader.is_silent()


def test_a_coroutine_is_awaited_and_every_event_is_delivered_once(
    api: Announcement, client: Callable[..., Client]
) -> None:
    reader = client(api)
    reader.subscribe("/later/a")
    assert len(said(api, "/later/a", 1, 2, 3).json()["successful"]) == 3
    assert [reader.receive()["event"] for _ in range(3)] == ["1", "2", "3"]


def test_none_broadcasts_nothing(api: Announcement, client: Callable[..., Client]) -> None:
    reader = client(api)
    reader.subscribe("/nothing/a")
    assert said(api, "/nothing/a", 1).status_code == 200
    assert reader.is_silent()


@pytest.mark.parametrize(
    ("what", "status", "error"),
    [
        ("util-error", 403, {"errorType": "TeapotError", "message": "not today"}),
        ("unauthorized", 401, {"errorType": "Unauthorized", "message": "Unauthorized"}),
        ("bug", 500, {"errorType": "MessageProcessingError"}),
        ("unknown-id", 500, {"errorType": "MessageProcessingError"}),
        ("repeated-id", 500, {"errorType": "MessageProcessingError"}),
        ("no-list", 500, {"errorType": "MessageProcessingError"}),
    ],
)
def test_a_publish_is_refused_whole(
    what: str, status: int, error: dict[str, str], api: Announcement, client: Callable[..., Client]
) -> None:
    reader = client(api)
    assert reader.subscribe("/refuse/x")["type"] == "subscribe_success"
    answer = said(api, "/refuse/x", what)
    assert answer.status_code == status
    assert "secret detail" not in answer.text
    (seen,) = answer.json()["errors"]
    assert seen.items() >= error.items()
    refused = reader.publish("/refuse/x", [json.dumps(what)])
    assert refused["type"] == "publish_error"
    assert refused["errors"][0].items() >= error.items()
    assert reader.is_silent()


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("/refuse/*", "Unauthorized"),
        ("/refuse/unauthorized", "Unauthorized"),
        ("/refuse/util-error", "TeapotError"),
        ("/refuse/bug", "SubscriptionProcessingError"),
    ],
)
def test_a_subscription_is_refused_and_gets_nothing(
    channel: str, error: str, api: Announcement, client: Callable[..., Client]
) -> None:
    reader = client(api)
    answer = reader.subscribe(channel)
    assert (answer["type"], answer["errors"][0]["errorType"]) == ("subscribe_error", error)
    said(api, "/refuse/x", 1)
    assert reader.is_silent()


def test_a_handler_sees_headers_without_credentials(api: Announcement, client: Callable[..., Client]) -> None:
    reader = client(api)
    reader.subscribe("/refuse/x")
    said(api, "/refuse/x", "headers", **{"x-tenant": "blue", "Authorization": "secret"})
    seen = json.loads(reader.receive()["event"])
    assert seen["x-tenant"] == "blue"
    assert not {"authorization", "x-api-key"} & set(seen)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("handlers.py:gone", "AttributeError"),
        ("gone.py:x", "FileNotFoundError"),
        ("no.such.module:x", "ModuleNotFoundError"),
        ("handlers.py:not_a_function", "is not a function"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str, sentence: str
) -> None:
    """Each case runs in this process; one also starts a server in a subprocess, which prints the same sentence."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "api.yaml").write_text(f"namespaces: {{a: {{on_publish: '{reference}'}}}}")
    options = ["--api", str(tmp_path / "api.yaml")]
    assert server_main(options) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    if reference == "handlers.py:gone":
        with pytest.raises(ServerStartError, match=sentence):
            ServerProcess(options).start()
