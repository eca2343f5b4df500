"""Test the harness with the Event API of another project, ministack (PyPI), in a separate environment.

The newer version is close to AWS. The older one sends `event` as a list, as AWS's page shows but AWS itself
does not. In both `*` matches only one level. The harness runs unchanged with both, and reports these
deviations.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S, Finished, free_port, loadgen, only_run, read
from tests.system.here import Here, here
from tests.system.install import once

# In a fresh clone, the first test also makes an environment for each version, which takes longer than the usual limit.
pytestmark = pytest.mark.timeout(600)
HERE = Path(__file__).parent
VERSIONS = ("1.5.33", "1.4.0")
EVENT_IS_A_LIST = "a data frame's event is a list, as in the documentation; AWS sends a string"
RUN = (
    "gates=[]",
    "clients.readers.count=40",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=500ms",
    "phases.measure=1s",
    "phases.drain=500ms",
)


@dataclass(frozen=True)
class Peer:
    version: str
    url: str
    key: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {"LOADGEN_TARGET": self.url, "LOADGEN_API_KEY": self.key}

    def loadgen(self, *arguments: str, timeout_s: float = 170) -> Finished:
        return loadgen(*arguments, env=self.environment, timeout_s=timeout_s)

    def here(self, *arguments: str) -> Here:
        return here(*arguments, env=self.environment)


def environment_of(version: str) -> Path:
    """Return the Python of an environment with this version of ministack, which is made once on each machine."""
    folder = REPO / ".cache" / "peers" / f"ministack-{version}"
    python, wanted = folder / "bin" / "python", HERE / f"ministack-{version}.txt"
    stamp = folder / "installed.txt"
    with once(f"ministack-{version}"):
        if not (stamp.exists() and stamp.read_text() == wanted.read_text()):
            # The file pins every package that is needed. So this environment's pip can install them into the new one,
            # and need not resolve dependencies.
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
            install = ("install", "-q", "--no-deps", "--no-compile", "--disable-pip-version-check")
            subprocess.run(
                [sys.executable, "-m", "pip", "--python", python, *install, "-r", wanted], check=True
            )
            stamp.write_text(wanted.read_text())
    return python


@pytest.fixture(scope="module", params=VERSIONS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    port = free_port()
    log = tmp_path_factory.mktemp("ministack") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [environment_of(request.param), "-m", "ministack"],
            cwd=log.parent,
            env={**os.environ, "GATEWAY_PORT": str(port), "MINISTACK_HOST": "localhost"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield make_api(request.param, port, process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STUCK_S)


def make_api(version: str, port: int, process: subprocess.Popen[bytes], log: Path) -> Peer:
    """Wait until ministack answers, and make an Event API with a namespace and a key as on AWS."""
    signature = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/appsync/aws4_request, SignedHeaders=host, Signature=0"
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"authorization": signature}, timeout=STUCK_S
    ) as client:
        deadline = time.monotonic() + STUCK_S
        while True:
            try:
                client.get("/v2/apis")
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        modes = [{"authType": "API_KEY"}]
        roles = (
            "authProviders",
            "connectionAuthModes",
            "defaultPublishAuthModes",
            "defaultSubscribeAuthModes",
        )
        api = client.post(
            "/v2/apis", json={"name": "load", "eventConfig": dict.fromkeys(roles, modes)}
        ).json()["api"]
        client.post(f"/v2/apis/{api['apiId']}/channelNamespaces", json={"name": "default"}).raise_for_status()
        key = client.post(f"/v1/apis/{api['apiId']}/apikeys", json={}).json()["apiKey"]["id"]
    return Peer(version, f"http://{api['dns']['HTTP']}/event", key)


def test_probe_goes_all_the_way(peer: Peer) -> None:
    done = peer.here("probe", "--json")
    steps = {step["name"]: step for step in map(json.loads, done.out.splitlines())}
    # Two steps fail with either version of ministack: its `*` matches only one level of a channel, and it doesn't check
    # keys.
    assert done.code == 4, done.said
    assert [name for name, step in steps.items() if not step["ok"]] == ["deep wildcard", "wrong login"]
    assert "a made-up login may connect" in steps["wrong login"]["detail"]
    assert "gets events of /default/loadgen-probe, and none of" in steps["deep wildcard"]["detail"]
    assert "counts the deeper channels' events as lost" in steps["deep wildcard"]["advice"]
    assert (EVENT_IS_A_LIST in done.out) == (peer.version == "1.4.0")


@pytest.mark.parametrize("transport", [[], ["--websocket"]])
def test_publish_and_wait(peer: Peer, transport: list[str]) -> None:
    done = peer.here("publish", "/default/a", '{"a":[1,"é"]}', "plain", "--wait", "--json", *transport)
    assert done.code == 0, done.said
    assert all(json.loads(line)["latency_ms"] > 0 for line in done.out.splitlines())
    assert (EVENT_IS_A_LIST in done.err) == (peer.version == "1.4.0")


def test_a_scenario_runs_unchanged_and_says_what_it_saw(peer: Peer, tmp_path: Path) -> None:
    done = peer.loadgen(
        "run",
        "comments",
        *("--target", peer.url, "--api-key-env", "LOADGEN_API_KEY", "--results", str(tmp_path)),
        *(part for item in RUN for part in ("--set", item)),
    )
    summary = read(only_run(tmp_path) / "summary.json")
    assert summary["ledger"]["delivered"] == summary["ledger"]["expected"] > 0, done.said
    saw = summary["workers"]["deviations"]
    if peer.version == "1.4.0":
        # ministack 1.4.0 sends the event of each delivery as a list. Deliveries of readiness probes are counted too.
        assert saw[EVENT_IS_A_LIST] >= summary["ledger"]["delivered"]
        assert f"the service deviates from AWS: {EVENT_IS_A_LIST}" in " ".join(done.out.split())
    else:
        assert saw == {}
    assert peer.key not in done.out + done.err
    for path in only_run(tmp_path).rglob("*"):
        assert path.is_dir() or peer.key.encode() not in path.read_bytes(), path


def test_what_nobody_receives_is_counted_as_lost(peer: Peer, tmp_path: Path) -> None:
    """`*` matches any number of levels on AWS, and one in ministack; the ledger counts the difference as lost."""
    scenario = tmp_path / "deep.yaml"
    scenario.write_text(
        """version: 1
clients:
  readers: {count: 5, subscribe: "/default/*"}
  writers: {count: 1, publish: {channel: /default/a/b, rate: 20/s}}
phases: {warmup: 500ms, measure: 1s, drain: 500ms}
"""
    )
    done = peer.loadgen(
        "run",
        str(scenario),
        *("--target", peer.url, "--api-key-env", "LOADGEN_API_KEY", "--results", str(tmp_path / "results")),
    )
    ledger = read(only_run(tmp_path / "results") / "summary.json")["ledger"]
    assert ledger["balances"], done.said
    assert ledger["lost"] == ledger["expected"], done.said
    assert ledger["expected"] == 5 * 20, done.said
    assert ledger["delivered"] == 0, done.said
    said = " ".join(done.out.split())
    assert "5 of 5 subscriptions to /default/* received none of 100 expected events" in said
    assert "such as /default/a/b, and the service's '*' may stand for one level" in said
