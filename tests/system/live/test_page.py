"""Test the Fan-out tab in a real Chromium with a given state: gaps, foreign text, no foreign servers."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.paths import REPO
from tests.system.editor.browser import Browser, Page
from tests.system.harness import free_port


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    served = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "tests.system.live.serve", str(port)], cwd=REPO)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while True:
            try:
                opener.open(served, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield served
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def lines(page: Page, title: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('[data-title^=\"{title}\"] path.line')].map(path => path.getAttribute('d'))"
    )
    return found


def test_the_tab_shows_gaps_where_nothing_is_known(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/?tab=fan-out", width=1500) as page:
        page.wait("!!document.querySelector('main #fan-out .fan-out-tile')")
        assert page.text(".fan-out-tile[data-name=deliveries]").split("\n")[1:] == ["299", "of 300 expected"]
        assert page.text(".fan-out-tile[data-name=verdict] b") == "valid"
        for title in ("Fan-out latency", "CPU", "The generator"):
            drawn = lines(page, title)
            assert drawn
            # Two parts each: before and after the silence; no line leads through it.
            assert {line.count("M") for line in drawn} == {2}, title
        (deliveries_due, arrived) = lines(page, "Deliveries")
        assert (deliveries_due.count("M"), arrived.count("M")) == (1, 2)
        assert "NaN" not in page.run("document.querySelector('#fan-out').innerHTML")
        gates = page.text(".fan-out-gates").split("\n")
        assert [row.split("\t")[-1] for row in gates[1:]] == ["holds", "does not hold", "known at the end"]


def test_foreign_text_stays_text(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/?tab=fan-out") as page:
        page.wait("!!document.querySelector('#fan-out li')")
        assert page.text("#fan-out li") == "3 × <img src=x onerror=alert(1)> & co"
        assert page.run("document.querySelectorAll('#fan-out img').length") == 0


def test_the_tab_comes_and_goes_with_locust_s_others(browser: Browser, url: str) -> None:
    with browser.page(url) as page:
        tab = "[...document.querySelectorAll('[role=tab]')].find(tab => tab.innerText.toLowerCase() === 'fan-out')"
        page.wait(f"!!{tab}")
        assert page.run("document.querySelectorAll('#fan-out').length") == 0
        for _ in range(2):
            page.run(f"{tab}.click()")
            page.wait("!!document.querySelector('#fan-out .fan-out-tile')")
            assert page.run("document.querySelectorAll('#fan-out').length") == 1
            page.run("document.querySelector('[role=tab]').click()")
            page.wait("!document.querySelector('#fan-out')")


def test_the_page_of_its_own_loads_nothing_from_elsewhere(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/fan-out", width=500, dark=True) as page:
        page.wait("document.querySelector('#fan-out').dataset.points > 20")
        loaded = page.run("performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
        assert set(loaded) == {url}
        # Nothing is wider than the window.
        assert page.run("document.documentElement.scrollWidth") <= 500
        assert page.problems == []
