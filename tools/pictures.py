"""Renew the pictures of the documentation: `python -m tools.pictures`, on a quiet machine.

It makes a run of the scenario `comments` with the web UI, and takes docs/live.png while the run goes on and
docs/report.png after it. With a folder as argument, it writes these and more pictures to that folder instead, for a
review: before and after the run, in dark colours, and 390 pixels wide.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.paths import REPO
from tests.system.editor.browser import Browser
from tests.system.harness import free_port, only_run, start
from tests.system.run.test_live import PRESS_START, fetch, stop

TOKEN: Final = "a-token-of-this-test"  # noqa: S105  of a UI on the loopback interface, for a minute
#: Seconds after the start of the measure phase at which the live page is photographed.
_MIDST_S: Final = 15
_WAIT_S: Final = 120.0


def main() -> None:
    """Make the run and the pictures."""
    more = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    out = more or REPO / "docs"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as results, Browser() as browser:
        port = free_port()
        environment = {**os.environ, "LOADGEN_WEB_TOKEN": TOKEN}
        arguments = ("run", "comments", "--report", "--web", f"--web-port={port}", "--results", results)
        child = start(*arguments, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(url)
            with browser.page(f"{url}/?token={TOKEN}", width=1385, height=900) as page:
                page.wait("!!document.querySelector('#fan-out-coming dd')")
                if more is not None:
                    page.screenshot(out / "live-before.png")
                page.wait(PRESS_START)
                page.wait(
                    "document.querySelector('.fan-out-tile[data-name=phase] b')?.innerText === 'measure'"
                )
                time.sleep(_MIDST_S)
                page.screenshot(out / "live.png")
                page.wait("!!document.querySelector('.fan-out-result a')")
                if more is not None:
                    page.screenshot(out / "live-after.png")
            if more is not None:
                for width, dark in ((390, False), (1200, True)):
                    with browser.page(f"{url}/fan-out", width=width, height=900, dark=dark) as page:
                        page.wait("!!document.querySelector('.fan-out-result a')")
                        page.screenshot(out / f"live-{width}{'-dark' if dark else ''}.png")
        finally:
            stop(child)
        report = (only_run(Path(results)) / "report.html").as_uri()
        with browser.page(report, width=1000, height=1600) as page:
            page.wait("!!document.querySelector('figure.drawn')")
            time.sleep(1)
            page.view(out / "report.png")
        if more is not None:
            for width in (390, 1200):
                for dark in (False, True):
                    with browser.page(report, width=width, height=900, dark=dark) as page:
                        page.wait("!!document.querySelector('figure.drawn')")
                        time.sleep(1)
                        page.screenshot(out / f"report-{width}{'-dark' if dark else ''}.png")


def _until_it_answers(url: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            fetch(url)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
