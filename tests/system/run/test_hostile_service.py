"""Test a whole run against a service whose text tries to act in a page, a CI file or a terminal."""

import json
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiohttp import ClientConnectionResetError, WSMsgType, web

from tests.paths import REPO
from tests.system.harness import STUCK_S, loadgen, only_run, overrides, read
from tests.system.run.made_up_service import served

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"'&\x1b[31m\x9b31m\x07]]>|`[x](javascript:y)\u202e\n# h"
)
SETTINGS = (
    "clients.readers.count=12",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=2",
    "clients.commenters.publish.rate=40/s",
    "phases.ready={settle: 300ms}",
    "phases.warmup=300ms",
    "phases.measure=2s",
    "phases.drain=500ms",
)


class HostileService:
    """A service that follows the protocol well enough for a run, but sends hostile text wherever it may send text."""

    def __init__(self) -> None:
        self.subscriptions: list[tuple[web.WebSocketResponse, str, str]] = []
        self.published = 0

    async def publish(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.published += 1
        if self.published % 3 == 0:
            errors = [{"errorType": HOSTILE, "message": HOSTILE}]
            return web.json_response({"errors": errors}, status=400, reason="no")
        for socket, number, pattern in list(self.subscriptions):
            if not body["channel"].startswith(pattern.removesuffix("*")):
                continue
            frames = [*body["events"], json.dumps(HOSTILE), HOSTILE, json.dumps({HOSTILE: [HOSTILE]})]
            # A subscriber that has just closed its connection is no failure of the publish.
            with suppress(ClientConnectionResetError):
                for event in frames:
                    await socket.send_str(
                        json.dumps({"type": "data", "id": number, "event": event, HOSTILE: HOSTILE})
                    )
        successful = [{"identifier": HOSTILE, "index": index} for index in range(len(body["events"]))]
        return web.json_response({"successful": successful, "failed": []})

    async def realtime(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("aws-appsync-event-ws",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            await self.answer(socket, json.loads(message.data))
        return socket

    async def answer(self, socket: web.WebSocketResponse, frame: dict[str, str]) -> None:
        if frame["type"] == "connection_init":
            await socket.send_str(json.dumps({"type": "connection_ack", "connectionTimeoutMs": 300_000}))
        elif frame["type"] == "subscribe":
            self.subscriptions.append((socket, frame["id"], frame["channel"]))
            await socket.send_str(json.dumps({"type": "subscribe_success", "id": frame["id"]}))
            await socket.send_str(json.dumps({"type": HOSTILE, "id": HOSTILE, "errors": HOSTILE}))
            await socket.send_str(HOSTILE)
            if len(self.subscriptions) == 5:
                await socket.close(code=4000, message=HOSTILE.encode()[:100])


@pytest.fixture
def service() -> Iterator[str]:
    with served(HostileService) as url:
        yield url


class Elements(HTMLParser):
    """Finds the elements of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts: list[dict[str, str | None]] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs))


def test_nothing_that_a_service_says_acts_anywhere(service: str, tmp_path: Path) -> None:
    done = loadgen(
        "run",
        "--report",
        str(REPO / "scenarios" / "comments.yaml"),
        *overrides(SETTINGS),
        "--target",
        service,
        "--api-key-env",
        "LOADGEN_TEST_KEY",
        "--results",
        str(tmp_path),
        env={"LOADGEN_TEST_KEY": "da2-hostile"},
        timeout_s=STUCK_S,
    )
    assert list(tmp_path.iterdir()), done.said
    run = only_run(tmp_path)
    summary = read(run / "summary.json")
    # The run must have deliveries, refusals, unreadable frames and a lost connection, or this tests nothing.
    assert summary["ledger"]["rows"] > 50, done.said
    assert "<script>" in json.dumps(summary["publish"]["errors"]), done.said
    assert summary["workers"]["undecodable"] + summary["workers"]["foreign"] > 50
    assert summary["ledger"]["balances"]

    page = (run / "report.html").read_text()
    elements = Elements(page)
    # The report has four inline scripts: its data, two of Bokeh's and one of ours. No script is loaded from a URL.
    assert elements.scripts == [{"type": "application/json", "id": "charts"}, {}, {}, {}]
    assert not elements.tags & {"img", "iframe", "object", "embed", "form", "base"}
    # The page has an empty icon, so that browsers do not request one.
    assert page.count("<link") == page.count('<link rel="icon" href="data:,">') == 1
    assert not {name for name in elements.attributes if name.startswith("on")}
    for text in (page, (run / "summary.md").read_text(), (run / "junit.xml").read_text(), done.out, done.err):
        assert not {c for c in text if c in "\x1b\x9b\x07\u202e\x00"}
    ElementTree.fromstring((run / "junit.xml").read_text())
    markdown = (run / "summary.md").read_text()
    assert "<script" not in markdown
    assert "[x](javascript" not in markdown
    assert "da2-hostile" not in page + markdown + done.said
