"""Test the Fan-out tab and the start form in a real Chromium, before, during and after a simulated run."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.text import verdict
from tests.paths import REPO
from tests.system.editor.browser import Browser, Page
from tests.system.harness import STUCK_S, free_port
from tests.system.live.address import TARGET

GATES = (
    ("delivery.latency.p99 < 50ms", "duration", 12_000_000.0, "passed"),
    ("delivery.loss == 0", "share", 0.0037, "failed"),
    ("delivery.duplicates == 0", "count", None, "inconclusive"),
)
SUMMARY: dict[str, Any] = json.loads((REPO / "results" / "sample" / "summary.json").read_text()) | {
    "gates": [
        {"gate": gate, "kind": kind, "value": value, "status": status} for gate, kind, value, status in GATES
    ]
}
#: A report with a malicious script: it reads the cookies and requests `/stop`.
REPORT = """<!doctype html><title>the report</title><p id=said></p><script>
const said = [window.origin];
try { said.push(document.cookie); } catch (error) { said.push(error.name); }
fetch("/stop").then(() => "fetched", error => error.name).then(last => {
  document.getElementById("said").textContent = [...said, last].join(" ");
});
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the simulated run; the files in it tell whether the run has begun or is over."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def before(folder: Path) -> Iterator[None]:
    (folder / "before").touch()
    yield
    (folder / "before").unlink()


@pytest.fixture
def after(folder: Path) -> Iterator[None]:
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    yield
    (folder / "summary.json").unlink()
    (folder / "report.html").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    port = free_port()
    served = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.system.live.serve", str(port), str(folder)], cwd=REPO
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + STUCK_S
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
            # Each plotted line has two separate parts: nothing is drawn for the seconds without data in between.
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
        # No element is wider than the window.
        assert page.run("document.documentElement.scrollWidth") <= 500
        assert page.problems == []


SHOWN = "(e => !!e && e.getClientRects().length > 0)"


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("width", [390, 1200])
def test_the_start_form_describes_the_run_and_has_no_fields_without_effect(
    browser: Browser, url: str, width: int
) -> None:
    with browser.page(url, width=width) as page:
        page.wait("!!document.querySelector('#fan-out-coming dd')")
        rows = page.run(
            "Object.fromEntries([...document.querySelectorAll('#fan-out-coming dt')]"
            ".map(label => [label.innerText, label.nextSibling.innerText]))"
        )
        assert rows["Scenario"] == "broadcast"
        assert rows["Target"] == TARGET
        assert rows["Clients"] == "11: 10 audience, 1 announcer"
        assert rows["Events"] == "10/s"
        for field in ("userCount", "spawnRate", "host"):
            assert not page.run(f"{SHOWN}(document.querySelector('form [name={field}]'))"), field
        assert page.run(f"{SHOWN}(document.querySelector('form button[type=submit]'))")
        assert "no host" not in page.text("body")
        # The description and the long host name in Locust's header are not wider than the window.
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.problems == []


@pytest.mark.usefixtures("before")
def test_before_a_run_the_page_says_what_begins_and_draws_nothing(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/fan-out") as page:
        page.wait("!!document.querySelector('.fan-out-coming')")
        assert page.text(".fan-out-heading") == "No run has begun. This one begins when you press Start:"
        assert not page.run(f"{SHOWN}(document.querySelector('.fan-out-chart'))")


def test_in_a_run_there_is_no_result_and_no_negative_loss(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/fan-out") as page:
        page.wait("!!document.querySelector('.fan-out-tile')")
        assert page.run("document.querySelectorAll('.fan-out-result').length") == 0
        assert page.text(".fan-out-tile[data-name=loss]").split("\n")[1:] == ["0.37 %", "up to 3 s ago"]
        assert page.text(".fan-out-tile[data-name=verdict] small") == "verdict so far"


def test_the_long_name_of_a_target_does_not_widen_locust_s_page(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/?tab=fan-out", width=1200) as page:
        page.wait("!!document.querySelector('#fan-out .fan-out-tile')")
        page.wait(
            "[...document.querySelectorAll('header button')].some(each => /stop/i.test(each.innerText))"
        )
        assert page.run("document.documentElement.scrollWidth") <= 1200


@pytest.mark.usefixtures("after")
def test_after_a_run_the_tab_says_the_verdict_and_links_the_report(
    browser: Browser, url: str, folder: Path
) -> None:
    (folder / "report.html").write_text(REPORT)
    with browser.page(f"{url}/?tab=fan-out", width=1200) as page:
        page.wait("!!document.querySelector('.fan-out-result a')")
        kind, sentence = verdict(SUMMARY)
        assert page.text(".fan-out-result strong") == sentence
        assert page.run(f"!!document.querySelector('.fan-out-result.fan-out-{kind}')")
        assert page.text(".fan-out-tile[data-name=phase] b") == "ended"
        assert page.text(".fan-out-tile[data-name=verdict]").split("\n")[1:] == [
            SUMMARY["verdict"]["kind"],
            "final verdict",
        ]
        # The legends have no values of the last second, when everything has stopped.
        legends = (
            "[...document.querySelectorAll('.fan-out-chart figcaption b')].map(value => value.innerText)"
        )
        assert set(page.run(legends)) == {""}
        lost = SUMMARY["ledger"]["lost"]
        assert page.text(".fan-out-tile[data-name=loss] small") == f"{lost:,} lost, by the ledger"
        header, *gates = page.text(".fan-out-gates").split("\n")
        assert "At the end" in header
        assert [row.split("\t") for row in gates] == [
            ["delivery.latency.p99 < 50ms", "12 ms", "holds"],
            ["delivery.loss == 0", "0.37 %", "does not hold"],
            ["delivery.duplicates == 0", "–", "inconclusive"],
        ]
        link = page.run("document.querySelector('.fan-out-result a').href")
    assert link == f"{url}/fan-out/report/run-1"
    with browser.page(link) as page:
        # The report's scripts run, but without access to the UI: no origin, no cookies, no requests.
        page.wait("document.getElementById('said').textContent")
        assert page.text("#said") == "null SecurityError TypeError"


@pytest.mark.usefixtures("after")
def test_after_a_run_without_a_report_the_tab_says_how_to_make_one(
    browser: Browser, url: str, folder: Path
) -> None:
    with browser.page(f"{url}/fan-out", width=390, dark=True) as page:
        page.wait("!!document.querySelector('.fan-out-result code')")
        assert page.text(".fan-out-result code") == f"loadgen report {folder}"
        assert page.run("document.querySelectorAll('.fan-out-result a').length") == 0
        assert page.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.usefixtures("after")
def test_the_form_for_another_run_describes_it_too(browser: Browser, url: str) -> None:
    with browser.page(f"{url}/?tab=fan-out", width=1200) as page:
        page.wait("!!document.querySelector('.fan-out-result')")
        button = "[...document.querySelectorAll('header button')].find(each => /new/i.test(each.innerText))"
        page.wait(f"!!{button}")
        page.run(f"{button}.click()")
        page.wait("!!document.querySelector('#fan-out-coming dd')")
        assert TARGET in page.text("#fan-out-coming")
        assert not page.run(f"{SHOWN}(document.querySelector('form [name=userCount]'))")


def test_charts_keep_the_size_of_their_text(browser: Browser, url: str) -> None:
    for width in (390, 1200, 2200):
        with browser.page(f"{url}/fan-out", width=width) as page:
            page.wait("document.querySelector('#fan-out').dataset.points > 20")
            ratio = "(e => e.viewBox.baseVal.width / e.getBoundingClientRect().width)(document.querySelector('svg'))"
            page.wait(f"Math.abs({ratio} - 1) < 0.02")
