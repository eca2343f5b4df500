"""Test the commands for an Event API on AWS, from its creation to its deletion: up, probe, run, metrics and down.

AWS's APIs are simulated by moto's server. The Event API is our own server with TLS, whose address is in the stack's
outputs. Commands that send load run as processes.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadgen.server.process import ServerProcess
from tests.authority import server_files
from tests.aws.conftest import CREDENTIALS
from tests.system.harness import SMALL, Finished, expect_by_verdict, loadgen, only_run, overrides, read
from tests.system.here import Here, here

pytestmark = pytest.mark.long

KEY = "da2-abcdefghijklmnopqrstuvwxyz"


def safe(said: str) -> None:
    assert "Traceback" not in said
    assert KEY not in said


def no_file_has_the_key(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


@dataclass
class World:
    """The environment in which commands find moto and trust the server."""

    env: dict[str, str]
    endpoint: str

    def loadgen(self, *arguments: str) -> Finished:
        done = loadgen(*arguments, env=self.env)
        safe(done.said)
        return done

    def here(self, *arguments: str) -> Here:
        """Call a command that sends no load, within this process."""
        done = here(*arguments, env=self.env)
        safe(done.said)
        return done

    def client(self, service: str) -> Any:
        import boto3  # imported here, because few processes need it

        return boto3.client(
            service, endpoint_url=self.endpoint, region_name="eu-west-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    from moto.server import ThreadedMotoServer

    from tests.aws import moto_appsync

    files = server_files(tmp_path)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    endpoint = "http://{}:{}".format(*moto.get_host_and_port())
    env = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "SSL_CERT_FILE": str(files.authority)}
    env |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "LOADGEN_API_KEY": ""}
    try:
        with ServerProcess(files.options, api_key=KEY) as server:
            moto_appsync.EventApi.http_host = server.announcement.http_url.split("/")[2]
            moto_appsync.EventApiKey.secret = KEY
            yield World(env, endpoint)
    finally:
        moto_appsync.EventApi.http_host = moto_appsync.EventApiKey.secret = None
        moto.stop()


def test_up_probe_run_metrics_down(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    target = ("--target", "aws:load")
    small = (*SMALL, "phases.measure=1s", "phases.drain=500ms")
    run = ("run", "comments", *target, "--results", str(results), *overrides(small))
    done = world.loadgen(*run, "--allow-remote")
    assert done.code == 2, done.said
    assert "there is no stack 'load' in eu-west-1: make it with `loadgen aws up --stack load`" in done.err

    assert world.here("aws", "up", "--stack", "load").code == 0
    probed = world.here("probe", *target)
    assert (probed.code, "all is well" in probed.out) == (0, True), probed.said
    elsewhere = (
        "clients.readers.subscribe=/other/{article}/*",
        "clients.commenters.publish.channel=/other/{article}/{thread}",
    )
    done = world.loadgen(*run, "--allow-remote", *overrides(elsewhere))
    assert done.code == 2, done.said
    assert "loadgen aws up --stack load --region eu-west-1 --namespace other" in done.err

    # Each worker fetches the key itself, because the key is not sent with the target.
    done = world.loadgen(*run, "--allow-remote", "--processes", "2", "--no-report")
    folder = only_run(results)
    expect_by_verdict(done, folder)
    manifest = read(folder / "manifest.json")
    (api,) = world.client("appsync").list_apis()["apis"]
    assert manifest["target"]["auth"] == "api-key from AppSync, by the AWS credentials of each process"
    assert manifest["target"]["aws"] == {
        "stack": "load", "region": "eu-west-1", "api_id": api["apiId"], "namespaces": ["default"]
    }  # fmt: skip
    no_file_has_the_key(folder)

    connected = read(folder / "summary.json")["connections"]["connected"]
    world.client("cloudwatch").put_metric_data(
        Namespace="AWS/AppSync",
        MetricData=[
            {
                "MetricName": "ConnectSuccess",
                "Dimensions": [{"Name": "EventAPIId", "Value": api["apiId"]}],
                "Timestamp": datetime.fromtimestamp(manifest["phases"][0]["start_ns"] / 1e9, UTC),
                "Value": connected + 1,
            }
        ],
    )
    done = world.loadgen("aws", "metrics", str(folder))
    assert done.code == 0, done.said
    assert f"connections accepted {connected} {connected + 1} +1" in " ".join(done.out.split())
    assert done.out.rstrip().endswith(f"report: {folder / 'report.html'}")
    assert "CloudWatch beside ours" in (folder / "report.html").read_text()
    no_file_has_the_key(folder)

    assert world.here("aws", "down", "--stack", "load", "--yes").code == 0
    assert world.client("appsync").list_apis()["apis"] == []
