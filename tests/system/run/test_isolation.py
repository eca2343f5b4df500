"""Test whole runs with one bad message, one bad answer or one bug of the harness, and their reports."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError, WSMsgType, web

from loadgen import native
from tests.system.harness import Finished, loadgen, only_run, overrides, read
from tests.system.run.made_up_service import served

SCENARIO = """\
version: 1
clients:
  readers:
    count: 3
    ramp: 100/s
    subscribe: "/default/news"
  writer:
    count: 1
    publish: {channel: "/default/news", rate: 40/s, via: http, payload: 200B}
phases:
  ready: {settle: 300ms}
  warmup: 500ms
  measure: 2s
  drain: 2s
gates:
  - delivery.loss == 0
"""
#: A text message that is invalid because it is not UTF-8 (RFC 6455, 5.6).
BAD_TEXT = b'{"type":"data","id":"\xff","event":"x"}'
PATHS = [
    pytest.param("1", marks=pytest.mark.skipif(not native.available, reason="the native path was not built")),
    "0",
]


class Service:
    """A correct service; subclasses override ``deliver`` or ``answer`` to make it misbehave."""

    def __init__(self) -> None:
        self.subscriptions: list[tuple[web.WebSocketResponse, str, str]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.published = 0

    async def publish(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.published += 1
        for place, (socket, number, channel) in enumerate(list(self.subscriptions)):
            if channel == body["channel"]:
                # A subscriber that has just closed its connection is no failure of the publish.
                with suppress(ClientConnectionResetError):
                    await self.deliver(socket, place, number, body["events"])
        return web.Response(body=self.answer(len(body["events"])), content_type="application/json")

    async def deliver(
        self, socket: web.WebSocketResponse, place: int, number: str, events: list[str]
    ) -> None:
        for event in events:
            await socket.send_str(json.dumps({"type": "data", "id": number, "event": event}))

    def answer(self, events: int) -> bytes:
        accepted = [{"identifier": str(index), "index": index} for index in range(events)]
        return json.dumps({"successful": accepted, "failed": []}).encode()

    async def realtime(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("aws-appsync-event-ws",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            if said["type"] == "connection_init":
                await socket.send_str(json.dumps({"type": "connection_ack", "connectionTimeoutMs": 300_000}))
            elif said["type"] == "subscribe":
                await socket.send_str(json.dumps({"type": "subscribe_success", "id": said["id"]}))
                self.subscriptions.append((socket, said["id"], said["channel"]))
            elif said["type"] == "unsubscribe":
                self.subscriptions = [each for each in self.subscriptions if each[:2] != (socket, said["id"])]
                await socket.send_str(json.dumps({"type": "unsubscribe_success", "id": said["id"]}))
        self.subscriptions = [each for each in self.subscriptions if each[0] is not socket]
        return socket


class BadFrame(Service):
    """A service that sends one frame with bytes that are not UTF-8; subclasses may change its ``kind`` from binary."""

    kind = WSMsgType.BINARY

    async def deliver(
        self, socket: web.WebSocketResponse, place: int, number: str, events: list[str]
    ) -> None:
        if place == 1 and self.published == 50:
            assert socket._writer is not None
            await socket._writer.send_frame(BAD_TEXT, self.kind)
        await super().deliver(socket, place, number, events)


def run(make: Callable[[], Service], folder: Path, **environment: str) -> tuple[dict[str, Any], Finished]:
    """Run the scenario; return its summary and its output."""
    (folder / "scenario.yaml").write_text(SCENARIO)
    with served(make) as url:
        done = loadgen(
            *("run", str(folder / "scenario.yaml"), "--target", url, "--api-key-env", "K"),
            *("--results", str(folder / "results")),
            env={"K": "da2-k3y", **environment},
        )
    assert (folder / "results").exists(), done.said
    return read(only_run(folder / "results") / "summary.json"), done


@pytest.mark.parametrize("path", PATHS)
def test_a_message_and_an_answer_that_are_no_text_are_counted_and_cost_nothing_else(
    path: str, tmp_path: Path
) -> None:
    class BadFrameAndAnswers(BadFrame):
        """A `BadFrame` service that also answers each third publish with bytes that are not UTF-8."""

        def answer(self, events: int) -> bytes:
            return (
                b'{"failed":[{"identifier":"\xff"}]}' if self.published % 3 == 0 else super().answer(events)
            )

    summary, done = run(BadFrameAndAnswers, tmp_path, LOADGEN_NATIVE=path)
    assert "Traceback" not in done.said
    ledger = summary["ledger"]
    assert (ledger["events_due"], ledger["lost"], ledger["balances"]) == (80, 0, True), done.said
    assert ledger["rows"] == 240, done.said
    assert 24 <= ledger["events_due"] - ledger["events_accepted"] <= 28
    kinds = {kind.pop("kind"): kind for kind in summary["workers"]["undecodable_kinds"]}
    assert kinds.pop("message that is not UTF-8") == {
        "count": 1,
        "example": r'{"type":"data","id":"\xff","event":"x"}',
    }
    answers = kinds.pop("HTTP answer that is not UTF-8")
    assert answers["count"] >= 24
    assert answers["example"] == r'{"failed":[{"identifier":"\xff"}]}'
    assert kinds == {}
    assert summary["workers"]["undecodable"] == 1 + answers["count"]
    assert "unanswered" not in summary["publish"]["events_by_status"]
    said = " ".join(done.out.split())
    assert f"the service sent {1 + answers['count']} messages that cannot be read: " in said
    assert "message that is not UTF-8 (1×)" in said
    assert not [finding for finding in summary["verdict"]["findings"] if finding["subject"] == "harness"]


@pytest.mark.parametrize("path", PATHS)
def test_a_text_frame_that_is_no_text_ends_its_connection_and_is_counted(path: str, tmp_path: Path) -> None:
    class BadTextFrame(BadFrame):
        """Sends the bad frame as a text frame."""

        kind = WSMsgType.TEXT

    summary, done = run(BadTextFrame, tmp_path, LOADGEN_NATIVE=path)
    assert summary["ledger"]["balances"], done.said
    (kind,) = summary["workers"]["undecodable_kinds"]
    assert (kind["kind"], kind["count"]) == ("WebSocket frame that cannot be read", 1)
    what = "the server broke the WebSocket protocol: a message of text that is not UTF-8"
    assert what in kind["example"]
    assert any(what in each for each in summary["connections"]["errors"]), summary["connections"]


LOCUSTFILE = """
from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

install()
{more}

class Reader(Subscriber):
    def on_delivery(self, channel, event):
        assert channel.startswith("/default/"), channel

class Writer(Publisher):
    pass
"""


def locust(folder: Path, scenario: str, *arguments: str, more: str = "", **environment: str) -> Finished:
    (folder / "mine.py").write_text(LOCUSTFILE.format(more=more))
    return Finished(
        subprocess.Popen(
            [
                *(sys.executable, "-m", "locust", "-f", "mine.py", "--headless", "--scenario", scenario),
                *("--no-report", "--results", str(folder / "results"), *arguments),
            ],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )


@pytest.mark.parametrize("path", PATHS)
def test_what_was_under_way_to_a_subscription_that_was_given_up_harms_nobody(
    path: str, tmp_path: Path
) -> None:
    settings = overrides(
        (
            "gates=[]",
            "clients.readers.count=40",
            "clients.readers.ramp=200/s",
            "clients.readers.churn={subscriptions: 60/s, away: 100ms}",
            "phases.ready={settle: 300ms}",
            "phases.warmup=500ms",
            "phases.measure=3s",
            "phases.drain=2s",
        )
    )

    class Slow(Service):
        """A service that delivers 20 ms late, so that deliveries are under way when a client unsubscribes."""

        async def deliver(
            self, socket: web.WebSocketResponse, place: int, number: str, events: list[str]
        ) -> None:
            async def later() -> None:
                await asyncio.sleep(0.02)
                await Service.deliver(self, socket, place, number, events)

            task = asyncio.create_task(later())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    with served(Slow) as url:
        done = locust(
            tmp_path,
            "subscription-churn",
            *("--target", url, "--api-key-env", "K", *settings),
            K="da2-k3y",
            LOADGEN_NATIVE=path,
        )
    assert (tmp_path / "results").exists(), done.said
    summary = read(only_run(tmp_path / "results") / "summary.json")
    assert "Traceback" not in done.said
    assert summary["ledger"]["lost"] == 0, done.said
    assert summary["ledger"]["delivered"] > 1_000
    assert summary["ledger"]["balances"]
    assert summary["recovery"]["on_purpose"]["unsubscribed"] > 60
    assert not [finding for finding in summary["verdict"]["findings"] if finding["subject"] == "harness"]


#: Code that makes the harness fail once, at the 130th event that it decodes; the reader of this event then reconnects.
BUG = """
from loadgen.users import deliveries

was, taken = deliveries.decode_event, 0

def decode_event(event):
    global taken
    taken += 1
    if taken == 130:
        raise RuntimeError("a bug of ours")
    return was(event)

deliveries.decode_event = decode_event
"""


@pytest.mark.parametrize("path", PATHS)
def test_a_failure_of_ours_is_named_and_what_it_hid_is_unobserved(path: str, tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    with served(Service) as url:
        done = locust(
            *(tmp_path, str(tmp_path / "scenario.yaml"), "--target", url, "--api-key-env", "K"),
            more=BUG,
            K="da2-k3y",
            LOADGEN_NATIVE=path,
        )
    assert (tmp_path / "results").exists(), done.said
    summary = read(only_run(tmp_path / "results") / "summary.json")
    ledger = summary["ledger"]
    assert done.code == 3, done.said
    assert ledger["lost"] == 0, done.said
    assert ledger["balances"]
    assert ledger["unobserved"] >= 1
    assert summary["workers"]["unobserved"] == ledger["unobserved"]
    assert ledger["expected"] + ledger["unobserved"] == 240
    assert ledger["delivered"] == ledger["expected"] >= 160
    findings = summary["verdict"]["findings"]
    assert summary["verdict"]["kind"] == "invalid"
    assert "RuntimeError: a bug of ours" in findings[0]["reason"]
    assert any("not observed" in finding["reason"] for finding in findings)
    assert done.said.count("Traceback") == 0
    assert summary["connections"]["errors"] == {}
    assert summary["connections"]["lives"] == 4, "it came back"
