"""Test a whole run through a relay that falls silent: connections stay open, but nothing arrives."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from analysis.limits import reads_too_slowly
from loadgen.server.process import ServerProcess
from tests.authority import server_files
from tests.system.harness import SMALL, Finished, overrides, read, start, wait_for_phase
from tests.system.run.waiting import PATIENCE_S
from tests.transport.quiet import QuietRelay

KEY = "da2-" + "s" * 26
SETTINGS = (*SMALL, "gates=[delivery.loss == 0]", "phases.measure=4s", "phases.drain=500ms")


@pytest.mark.parametrize("secure", [False, True])
def test_a_silence_is_noticed_and_what_was_missed_is_lost_in_reconnect(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_TEST_KEY", KEY)
    options = ["--api-key-env", "LOADGEN_TEST_KEY", "--connection-timeout", "1.5", "--ka-interval", "0.5"]
    if secure:
        files = server_files(tmp_path)
        options += files.options
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    results = tmp_path / "results"
    with (
        ServerProcess(options) as server,
        QuietRelay(urlsplit(server.announcement.http_url).port or 0) as relay,
    ):
        url = f"http{'s' if secure else ''}://127.0.0.1:{relay.port}/event"
        process = start(
            *("run", "comments", *overrides(SETTINGS), "--target", url),
            *("--api-key-env", "LOADGEN_TEST_KEY", "--results", str(results)),
        )
        run = wait_for_phase(results, "measure", PATIENCE_S)
        time.sleep(0.5)
        relay.silent.set()
        time.sleep(2.5)
        relay.silent.clear()
        done = Finished(process, PATIENCE_S)
    summary = read(run / "summary.json")
    ledger = summary["ledger"]
    # The run must not pass, and must report losses.
    assert done.code != 0, done.said
    # On a busy machine the run may be invalid, and then no gate is decided.
    assert summary["gates"][0]["status"] in ("failed", "inconclusive"), done.said
    assert ledger["lost_in_reconnect"] > 0
    assert ledger["balances"]
    assert any(error.startswith("silent for 1.5 s") for error in summary["connections"]["errors"]), done.said
    assert summary["silences"], done.said
    assert any(found["subject"] == "network" for found in summary["verdict"]["findings"])
    # The network fell silent, which must not be blamed on the load generator. The advice on slow reads may appear only
    # if the generator itself was too slow in some seconds.
    health = summary["health"]
    own = reads_too_slowly(
        health["cpu_worst"] or 0.0, health["lag_worst_ns"] or 0, health["receive_queue_worst_ns"] or 0
    )
    told = [
        found["reason"]
        for found in summary["verdict"]["findings"]
        if "reads too slowly, which slows the service down" in found["advice"]
    ]
    assert not told or own, told
    assert KEY not in done.said
