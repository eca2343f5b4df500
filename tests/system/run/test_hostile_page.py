"""Test the run's UI in a real Chromium that visits a hostile page in another tab."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.system.editor.browser import Browser
from tests.system.run.test_live import TOKEN, fetch, serving

#: A hostile page that tries to read data, to start a run by form and by script, and to frame the UI.
PAGE = """<!doctype html><title>hostile</title><body><script>
const base = new URLSearchParams(location.search).get("base");
const paths = ["/", "/fan-out/data", "/metrics", "/logs", "/stats/requests", "/fan-out/live.js"];
window.attack = async () => {
  const found = {};
  const reach = async (name, url, options) => {
    try {
      const answer = await fetch(url, {credentials: "include", ...options});
      found[name] = answer.type === "opaque" ? "opaque" : `${answer.status} ${(await answer.text()).slice(0, 200)}`;
    } catch (error) { found[name] = "blocked"; }
  };
  for (const path of paths) await reach(`read ${path}`, base + path);
  const body = new URLSearchParams({user_count: 1, spawn_rate: 1, results: RESULTS});
  await reach("start", `${base}/swarm`, {method: "POST", body});
  await reach("start unseen", `${base}/swarm`, {method: "POST", mode: "no-cors", body});
  await reach("stop unseen", `${base}/stop`, {method: "POST", mode: "no-cors"});
  await new Promise((done) => {
    const script = document.createElement("script");
    script.onload = () => { found.script = "ran"; done(); };
    script.onerror = () => { found.script = "blocked"; done(); };
    script.src = `${base}/fan-out/live.js`;
    document.body.append(script);
  });
  await new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.name = "sink";
    frame.onload = done;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action: `${base}/swarm`, target: "sink"});
    for (const [name, value] of body) {
      const field = document.createElement("input");
      Object.assign(field, {name, value});
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  });
  return found;
};
</script>"""


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[int]:
    page = PAGE.replace("RESULTS", json.dumps(str(tmp_path / "stolen"))).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_page_of_another_origin_can_neither_start_a_run_nor_read_one(tmp_path: Path, hostile: int) -> None:
    results = tmp_path / "results"
    # Every name below .example resolves to this machine. An attacker's DNS server could answer the same for its names.
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with serving(results) as (process, url), Browser(rules) as browser:
        port = url.rpartition(":")[2]
        with browser.page(f"{url}/?token={TOKEN}&tab=fan-out", width=1400) as page:
            page.wait("[...document.querySelectorAll('button')].some(b => /start/i.test(b.innerText))")
            assert "token" not in page.run("location.href")
            assert page.run("document.cookie") == ""
            assert page.run("fetch('/fan-out/data').then(answer => answer.json())")["run"] is None
            for origin, base in (
                # The attacker's page comes from another site, from another port of the same host (to which browsers
                # send the cookie), or from the attacker's own name after DNS rebinding to this machine.
                (f"http://evil.example:{hostile}", url),
                (f"http://127.0.0.1:{hostile}", url),
                (f"http://localhost:{hostile}", f"http://localhost:{port}"),
                (f"http://evil.example:{hostile}", f"http://evil.example:{port}"),
            ):
                with browser.page(f"{origin}/?base={base}") as attacker:
                    found = attacker.run("attack()")
                    assert found.pop("start unseen") in ("opaque", "blocked"), found
                    assert found.pop("stop unseen") in ("opaque", "blocked"), found
                    assert set(found.values()) == {"blocked"}, (origin, base, found)
            # The attacker's name leads to this machine, so the browser takes this page for one of the run's
            # own origin.
            with browser.page(f"http://evil.example:{port}/?token={TOKEN}") as rebound:
                assert "--allowed-host" in rebound.text("body")
                status = rebound.run("fetch('/swarm', {method: 'POST'}).then(answer => answer.status)")
                assert status == 403
            page.run("location.reload()")
            page.wait("[...document.querySelectorAll('button')].some(b => /start/i.test(b.innerText))")
            assert json.loads(fetch(f"{url}/fan-out/data"))["run"] is None
        assert process.poll() is None
    assert not (tmp_path / "stolen").exists()
    assert not list(results.glob("*/manifest.json"))
