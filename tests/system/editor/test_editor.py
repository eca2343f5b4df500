"""Test the Pub/Sub editor in a real Chromium: its functions, and attacks that must not succeed."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadgen.server.testing import LocalEventApi, Namespace
from tests.system.editor.browser import Browser, Page

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def refuse_bad(ctx: Any) -> list[dict[str, Any]]:
    return [
        {**event, "error": "no bad words"} if event["payload"] == "bad" else event for event in ctx.events
    ]


@pytest.fixture
def api() -> Iterator[LocalEventApi]:
    with LocalEventApi(["default", Namespace("strict", on_publish=refuse_bad)]) as started:
        yield started


@pytest.fixture
def opened(browser: Browser, api: LocalEventApi) -> Iterator[Open]:
    """Yield a function that opens the editor, connected with the server's key unless given another."""
    with ExitStack() as stack:

        def open_page(key: str | None = None, **options: Any) -> Page:
            fragment = f"#key={api.api_key if key is None else key}" if key != "" else ""
            page = stack.enter_context(browser.page(root(api) + fragment, **options))
            if key is None:
                page.wait("document.querySelector('#state').dataset.state === 'open'")
            return page

        yield open_page


def root(api: LocalEventApi) -> str:
    return api.http_url.removesuffix("event")


def subscribe(page: Page, channel: str) -> None:
    before = page.run("document.querySelectorAll('#subscriptions li').length")
    page.type("#subscribe-channel", channel)
    page.click("#listen")
    page.wait(f"document.querySelectorAll('#subscriptions li:not(.waiting)').length === {before + 1}")


def publish(page: Page, channel: str, events: str, via: str = "http") -> None:
    page.type("#publish-channel", channel)
    page.type("#events", events)
    page.choose("#via", via)
    page.click("#send")


def logged(page: Page) -> list[str]:
    """Return the events in the log, newest first."""
    found: list[str] = page.run("[...document.querySelectorAll('#log pre')].map(e => e.textContent)")
    return found


def test_the_key_of_the_fragment_connects_and_leaves_the_address_bar(
    opened: Open, api: LocalEventApi
) -> None:
    page = opened()
    assert page.text("#state") == "connected"
    assert page.run("location.href") == root(api)
    assert page.run("document.querySelector('#secret').type") == "password"
    assert page.problems == []


@pytest.mark.parametrize("via", ["http", "websocket"])
def test_what_is_published_is_seen_as_it_is(opened: Open, api: LocalEventApi, via: str) -> None:
    page = opened()
    subscribe(page, "/default/*")
    events = [{"a": [1, "é😀"]}, "plain", 3.5, None, {"b": {}}]
    publish(page, "/default/rooms/kitchen", json.dumps(events, indent=1), via)
    page.wait("document.querySelectorAll('#log li').length === 5")
    assert [json.loads(text) for text in reversed(logged(page))] == events
    assert page.text("#answer").startswith("5 of 5 accepted in ")
    assert "/default/*" in page.text("#log li")
    assert page.text("#log .latency").endswith(" ms")
    assert page.text("#count").startswith("5 received, ")
    assert [json.loads(entry.event) for entry in api.published] == events
    assert page.problems == []


def test_events_of_others_are_seen_live_and_without_a_latency(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    api.publish("/default/a", {"from": "elsewhere"})
    page.wait("document.querySelectorAll('#log li').length === 1")
    assert json.loads(logged(page)[0]) == {"from": "elsewhere"}
    assert page.run("document.querySelector('#log .latency')") is None


def test_an_equal_event_of_somebody_else_has_no_latency(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/*")
    subscribe(page, "/default/b")
    publish(page, "/default/a", '["same"]')
    page.wait("document.querySelectorAll('#log li').length === 1")
    api.publish("/default/a", "same")
    page.wait("document.querySelectorAll('#log li').length === 2")
    assert page.run("[...document.querySelectorAll('#log li')].map(e => !!e.querySelector('.latency'))") == [
        False,
        True,
    ]
    # The editor published on /default/a only, so it expects no event on /default/b.
    api.publish("/default/b", "same")
    page.wait("document.querySelectorAll('#log li').length === 4")
    assert page.run("document.querySelectorAll('#log .latency').length") == 1


@pytest.mark.parametrize("via", ["http", "websocket"])
def test_numbers_stay_as_they_are_written(opened: Open, api: LocalEventApi, via: str) -> None:
    page = opened()
    subscribe(page, "/default/*")
    publish(page, "/default/a", '[12345678901234567890, {"a": 1.10, "b": 1e400}]', via)
    page.wait("document.querySelectorAll('#log li').length === 2")
    assert [entry.event for entry in api.published] == ["12345678901234567890", '{"a":1.10,"b":1e400}']
    assert logged(page) == ['{\n  "a": 1.10,\n  "b": 1e400\n}', "12345678901234567890"]


def test_two_clicks_unsubscribe_once(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    page.run("(b => { b.click(); b.click() })(document.querySelector('#subscriptions button'))")
    page.wait("document.querySelectorAll('#subscriptions li').length === 0")
    # If the page had sent a second unsubscribe, its answer would have come before the answer to this subscribe.
    subscribe(page, "/default/b")
    assert page.text("#login-problem") == page.text("#subscribe-problem") == ""
    assert page.problems == []


def test_a_key_that_no_header_can_hold_is_told(opened: Open, api: LocalEventApi) -> None:
    page = opened("")
    page.type("#secret", "da2\u2013key")
    page.click("#connect")
    page.wait("document.querySelector('#login-problem').textContent")
    assert "has a space or a character that no API key has" in page.text("#login-problem")
    assert page.text("#state") == "not connected"


def test_key_and_token_are_kept_apart(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    page.choose("#mode", "token")
    assert page.run("document.querySelector('#secret').value") == ""
    page.type("#secret", "a.b.c")
    publish(page, "/default/a", "[1]")
    page.wait("document.querySelector('#publish-problem').textContent")
    assert "(HTTP 401)" in page.text("#publish-problem")
    page.choose("#mode", "key")
    assert page.run("document.querySelector('#secret').value") == api.api_key


def test_the_key_is_kept_for_this_tab_only(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    page.command("Page.reload")
    page.wait("document.querySelector('#state')?.dataset.state === 'open'")
    assert page.run("[localStorage.length, document.cookie]") == [0, ""]
    assert page.run("sessionStorage.getItem('key')") == api.api_key


def test_a_key_in_a_later_fragment_vanishes_too(opened: Open, api: LocalEventApi) -> None:
    page = opened("")
    page.run(f"location.hash = 'key={api.api_key}'")
    page.wait("document.querySelector('#state').dataset.state === 'open'")
    assert page.run("location.href") == root(api)


def test_a_silent_service_is_a_lost_connection(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    lost = page.run(
        """import('/editor/protocol.js').then(({ EventConnection }) => new Promise((resolve, reject) => {
            const authorization = { 'x-api-key': sessionStorage.getItem('key') }
            const handlers = { onClosed: resolve, onError: reject, onData: reject }
            const connection = new EventConnection(authorization, handlers)
            const receive = connection.receive.bind(connection)
            connection.receive = (message) =>
              receive('connectionTimeoutMs' in message ? { ...message, connectionTimeoutMs: 50 } : message)
            connection.open().catch(reject)
        }))"""
    )
    assert lost == 1006


def test_unsubscribing_ends_delivery(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    subscribe(page, "/default/b")
    page.click("#subscriptions li:first-child button")
    page.wait("document.querySelectorAll('#subscriptions li').length === 1")
    assert api.publish("/default/a", 1) == 0
    assert api.publish("/default/b", 2) == 1
    page.wait("document.querySelectorAll('#log li').length === 1")
    assert logged(page) == ["2"]


def test_a_wrong_key_is_told_in_words(opened: Open) -> None:
    page = opened("da2-wrong")
    page.wait("document.querySelector('#state').dataset.state === 'failed'")
    assert "UnauthorizedException: You are not authorized" in page.text("#login-problem")
    publish(page, "/default/a", "[1]")
    page.wait("document.querySelector('#publish-problem').textContent")
    assert "UnauthorizedException" in page.text("#publish-problem")
    assert "(HTTP 401)" in page.text("#publish-problem")


def test_without_a_key_one_is_asked_for(opened: Open) -> None:
    page = opened("")
    assert page.text("#state") == "not connected"
    publish(page, "/default/a", "[1]")
    page.wait("document.querySelector('#login-problem').textContent")
    assert "Type in the API key first" in page.text("#login-problem")


MISTAKES = [
    ("/default/a", "{not json", "This is not JSON"),
    ("/default/a", '{"a": 1}', "Events must be a JSON array"),
    ("/default/a", "[]", "There are 0 events: publish 1 to 5 at once."),
    ("/default/a", "[1,2,3,4,5,6]", "There are 6 events: publish 1 to 5 at once."),
    ("/default/*", "[1]", "Only a subscription may end in *"),
    ("/default/a b", "[1]", '"a b" may hold only letters, digits and dashes'),
    ("/a/b/c/d/e/f", "[1]", "The channel has 6 parts: at most 5 are allowed."),
    ("", "[1]", "The channel is empty"),
]


def test_a_mistake_is_told_before_anything_is_sent(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    for channel, events, sentence in MISTAKES:
        page.run("document.querySelector('#publish-problem').textContent = ''")
        publish(page, channel, events)
        page.wait("document.querySelector('#publish-problem').textContent")
        assert sentence in page.text("#publish-problem")
    assert api.published == []
    assert api._server is not None
    assert api._server.api.counters.publishes == 0


def test_the_page_and_the_server_agree_on_channels(opened: Open, api: LocalEventApi) -> None:
    from loadgen.protocol.appsync.channels import ChannelError, validate_publish, validate_subscribe

    page = opened()
    names = [
        "/default/a",
        "default",
        "/default/",
        "/default//a",
        "/*",
        "/default/*",
        "/default/*/a",
        "/-a",
        "/a-",
    ]
    names += ["/a/b/c/d/*", "/a/b/c/d/e/*"]
    names += ["/" + "a" * 50, "/" + "a" * 51, "/a/b/c/d/e", "/é", "//", "/default/*/", " /a"]
    for wildcard, validate in ((True, validate_subscribe), (False, validate_publish)):
        said = page.run(
            f"import('/editor/channels.js').then(m => {json.dumps(names)}.map(n => m.check(n, {json.dumps(wildcard)})))"
        )
        for name, problem in zip(names, said, strict=True):
            try:
                validate(name)
            except ChannelError:
                assert problem, name
            else:
                assert problem is None, name


def test_a_refused_subscription_is_told_and_not_listed(opened: Open) -> None:
    page = opened()
    page.type("#subscribe-channel", "/nowhere/a")
    page.click("#listen")
    page.wait("document.querySelector('#subscribe-problem').textContent")
    assert "UnauthorizedException" in page.text("#subscribe-problem")
    assert page.run("document.querySelectorAll('#subscriptions li').length") == 0


def test_failed_events_are_told_by_their_number(opened: Open) -> None:
    page = opened()
    publish(page, "/strict/a", '["good", "bad"]')
    page.wait("document.querySelectorAll('#answer li').length === 2")
    assert page.text("#answer").splitlines()[0].startswith("1 of 2 accepted")
    assert page.text("#answer .bad") == "event 2: HandlerError: no bad words"


def test_hostile_content_stays_text(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    hostile = '<img src=x onerror="window.owned=1"></script><script>window.owned=1</script>{{7*7}}'
    api.publish("/default/a", {hostile: hostile})
    page.wait("document.querySelectorAll('#log li').length === 1")
    assert json.loads(logged(page)[0]) == {hostile: hostile}
    page.type("#subscribe-channel", hostile)
    page.click("#listen")
    page.wait("document.querySelector('#subscribe-problem').textContent")
    assert page.run("document.querySelectorAll('#log img, #log script, #subscribe img').length") == 0
    assert page.run("window.owned") is None
    assert page.problems == []


def test_the_keyboard_publishes_and_pause_and_clear_hold_the_log(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    page.type("#publish-channel", "/default/a")
    page.type("#events", "[1]")
    page.press("Enter", modifiers=2, code=13)
    page.wait("document.querySelectorAll('#log li').length === 1")
    page.click("#pause")
    api.publish("/default/a", 2)
    page.wait("document.querySelector('#count').textContent.startsWith('2 received')")
    assert logged(page) == ["1"]
    assert page.text("#count").endswith("1 not shown while paused")
    page.click("#clear")
    assert page.text("#count") == "none yet"
    page.click("#pause")
    api.publish("/default/a", 3)
    page.wait("document.querySelectorAll('#log li').length === 1")
    assert logged(page) == ["3"]


def test_the_log_is_bounded(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    for first in range(0, 600, 100):
        api.publish("/default/a", *range(first, first + 100))
    page.wait("document.querySelector('#count').textContent.startsWith('600 received')")
    shown = logged(page)
    assert (len(shown), shown[0], shown[-1]) == (500, "599", "100")


def test_a_lost_connection_is_told_and_can_be_made_again(opened: Open, api: LocalEventApi) -> None:
    page = opened()
    subscribe(page, "/default/a")
    page.click("#connect")
    page.wait("document.querySelector('#state').dataset.state === 'closed'")
    assert page.run("document.querySelectorAll('#subscriptions li').length") == 0
    page.click("#connect")
    page.wait("document.querySelector('#state').dataset.state === 'open'")
    assert api._server is not None
    api._run(api._server.stop())
    page.wait("document.querySelector('#state').dataset.state === 'failed'")
    assert page.text("#state") == "connection lost (code 1001)"


def test_every_file_comes_with_strict_headers(api: LocalEventApi) -> None:
    own = root(api).removeprefix("http://").removesuffix("/")
    scripts = ("editor.js", "channels.js", "json.js", "latency.js", "protocol.js")
    for path in ("", "editor/editor.css", *(f"editor/{name}" for name in scripts)):
        answer = httpx.get(root(api) + path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].split("; ") == [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src data:",
            f"connect-src 'self' ws://{own} wss://{own}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert api.api_key not in answer.text


@pytest.mark.parametrize("host", ["a;script-src *", "a b", "[::1]:80", "a'b", "*"])
def test_a_strange_host_stays_out_of_the_policy(api: LocalEventApi, host: str) -> None:
    answer = httpx.get(root(api), headers={"host": host})
    assert answer.status_code == 200
    assert "connect-src 'self';" in answer.headers["content-security-policy"]


class Elsewhere(BaseHTTPRequestHandler):
    """A development server of another application."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>elsewhere</title>")

    def log_message(self, *_: Any) -> None: ...


def test_a_page_from_elsewhere_may_publish_with_the_key(browser: Browser, api: LocalEventApi) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        body = json.dumps({"channel": "/default/a", "events": ["1"]})
        with browser.page(f"http://127.0.0.1:{server.server_port}/") as page:
            statuses = [
                page.run(
                    f"fetch({json.dumps(api.http_url)}, {{method: 'POST', body: {json.dumps(body)}, headers:"
                    f" {{'x-api-key': {json.dumps(key)}, 'content-type': 'application/json'}}}}).then(a => a.status)"
                )
                for key in (api.api_key, "da2-wrong")
            ]
        server.shutdown()
    assert statuses == [200, 401]
    assert len(api.published) == 1


@pytest.mark.parametrize(
    ("name", "options"), [("light", {}), ("dark", {"dark": True}), ("phone", {"width": 360})]
)
def test_the_page_fits_its_window(
    opened: Open, api: LocalEventApi, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    page = opened(**options)
    subscribe(page, "/default/*")
    subscribe(page, "/default/rooms/a-room-with-a-name-that-goes-on-and-on-for-fifty")
    api.publish("/default/rooms/kitchen", {"user": "ada", "text": "tea? " * 20, "tags": ["a", "b"]})
    publish(page, "/default/greetings", '[{"hello": "world"}, "' + "x" * 200 + '"]')
    page.wait("document.querySelectorAll('#log li').length === 3")
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    folder = Path(os.environ.get("LOADGEN_SHOTS", tmp_path))
    page.screenshot(folder / f"editor-{name}.png")
    assert (folder / f"editor-{name}.png").stat().st_size > 10_000
