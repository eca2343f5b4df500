"""Test runs in which each client has its own login: from a data column, minted, or by a command."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import analysis
from loadgen.run.join import make, write
from loadgen.server.process import ServerProcess
from tests.paths import REPO
from tests.system.harness import (
    Finished,
    command_lines,
    expect_by_verdict,
    free_port,
    loadgen,
    only_run,
    read,
    start,
)

API = """
auth:
  iam: {region: eu-west-1, users: [{access_key_id: AKIARUN, secret_env: RUN_SECRET}]}
  oidc: {issuer: "https://login.example", jwks: jwks.json}
  cognito: {issuer: "https://pool.example", jwks: jwks.json, client_id: app}
  lambda: {function: "authorizer.py:decide", ttl: 5m}
  connect: [API_KEY, OPENID_CONNECT, AMAZON_COGNITO_USER_POOLS, AWS_LAMBDA]
  publish: [API_KEY, AWS_IAM, OPENID_CONNECT]
  subscribe: [API_KEY, OPENID_CONNECT, AMAZON_COGNITO_USER_POOLS, AWS_LAMBDA]
namespaces:
  users: {on_subscribe: "authorizer.py:own_channel_only", publish: [AWS_IAM, API_KEY, OPENID_CONNECT]}
  news: {subscribe: [API_KEY]}
"""
AUTHORIZER = """
from loadgen.server.handlers import Unauthorized


def decide(event, context=None):
    token = event["authorizationToken"]
    return {"isAuthorized": token.startswith("tok-"), "handlerContext": {"id": token[4:]}, "ttlOverride": 0}


def own_channel_only(ctx):
    identity = ctx.identity
    own = identity["handlerContext"]["id"] if "handlerContext" in identity else identity["claims"]["sub"]
    if ctx.info.channel.segments[-1] != own:
        raise Unauthorized
"""
CLIENTS = 200
IDS = [str(UUID(int=7_000_000_007 * (number + 1), version=4)) for number in range(CLIENTS)]
#: Short phases, and no gates, because these tests are about logins.
PHASES = "phases: {warmup: 500ms, measure: 3s, drain: 1s}\n"
PEOPLE = "data:\n  people: {csv: people.csv, secret: [token]}\n  anyone: {csv: people.csv, assign: random}\n"
BACKEND = 'publish: {channel: "/users/{anyone.id}", rate: 100/s}'
BY_COLUMN = f"""version: 1
{PEOPLE}clients:
  users:
    count: {CLIENTS}
    subscribe: "/users/{{people.id}}"
    login: {{mode: lambda, token: "{{people.token}}"}}
  backend: {{count: 2, {BACKEND}}}
{PHASES}"""
#: A login for which the load generator makes JWTs itself, with these claims and a signing key on this machine.
MINTED = """{mode: oidc, jwt: {key_file: signing.pem, kid: k, algorithm: ES256, expires: EXPIRES,
      claims: {iss: "https://login.example", sub: "{people.id}", aud: app}}}"""
#: The target's login (IAM) is only used for publishes, because the API does not accept IAM for connecting.
BY_TOKEN_AND_IAM = f"""version: 1
target: {{url: "URL", auth: {{mode: iam}}}}
data:
  people: {{csv: people.csv}}
  anyone: {{csv: people.csv, assign: random}}
clients:
  users:
    count: {CLIENTS}
    subscribe: "/users/{{people.id}}"
    login: {MINTED.replace("EXPIRES", "1h")}
  backend:
    count: 2
    {BACKEND}
{PHASES}"""
#: Every minted token begins with these characters, the base64 of `{"alg":"ES256"`.
TOKEN = "eyJhbGciOiJFUzI1Ni"
IAM = {"AWS_ACCESS_KEY_ID": "AKIARUN", "AWS_SECRET_ACCESS_KEY": "run/secret", "AWS_REGION": "eu-west-1"}


@dataclass
class World:
    """A server with several authorization modes, and a folder with scenarios and their data."""

    url: str
    env: dict[str, str]
    folder: Path

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def scenario(self, text: str) -> str:
        # The path of a key file is relative to the working directory, like that of a token file.
        return self.write("scenario.yaml", text.replace("signing.pem", str(self.folder / "signing.pem")))

    def arguments(self, scenario: str, results: Path) -> list[str]:
        return [
            *("run", scenario, "--target", self.url, "--api-key-env", "API_KEY", "--results", str(results)),
            *("--allow-file", str(self.folder), "--allow-env", "API_KEY"),
        ]

    def run(self, text: str, results: Path, *more: str) -> tuple[Finished, Path, str]:
        """Run a scenario; return how it ended, its folder, and all output, which must hold no secret."""
        with command_lines() as listed:
            done = loadgen(*self.arguments(self.scenario(text), results), *more, env=self.env)
        found = only_run(results)
        return done, found, left_by(found) + done.out + done.err + "".join(listed)


def left_by(folder: Path) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("own-logins")
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "signing.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k"}]}))
    (folder / "api.yaml").write_text(API)
    (folder / "authorizer.py").write_text(AUTHORIZER)
    rows = "".join(f"{name},tok-{name},free\r\n" for name in IDS)
    (folder / "people.csv").write_text(f"\ufeffid,token,plan\r\n{rows}", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUN_SECRET", "run/secret")
        with ServerProcess(["--api", str(folder / "api.yaml")]) as process:
            server = process.announcement
            yield World(server.http_url, {"API_KEY": server.api_key, **IAM}, folder)


def expect_each_its_own(folder: Path, clients: int = CLIENTS) -> None:
    """Assert that each client had the channel of its row, and that deliveries reached the right client."""
    run = analysis.load(folder)
    subscriptions = run.subscriptions[run.subscriptions["ready_ns"].notna()]
    channels = subscriptions.drop_duplicates("subscription").set_index("subscription")["channel"]
    assert channels.to_dict() == {number: f"/users/{IDS[number]}" for number in range(clients)}
    deliveries = run.deliveries.merge(
        run.events[["publisher", "sequence", "channel"]], on=["publisher", "sequence"], validate="m:1"
    )
    assert len(deliveries) > 100
    assert (deliveries["subscription"].map(channels).astype(str) == deliveries["channel"].astype(str)).all()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_of_200_users_logs_in_by_its_own_token_and_has_its_own_channel_only(
    processes: str, world: World, tmp_path: Path
) -> None:
    done, folder, kept = world.run(BY_COLUMN, tmp_path, "--processes", processes)
    summary = expect_by_verdict(done, folder)
    assert summary["connections"]["errors"] == {}, done.said
    expect_each_its_own(folder)
    assert "tok-" not in kept
    told = read(folder / "manifest.json")["target"]["setup"]
    assert told["login of users"] == "lambda from column people.token of people.csv"
    assert summary["target"]["setup"] == told


def test_workers_of_other_processes_log_their_own_clients_in(world: World, tmp_path: Path) -> None:
    join, port = tmp_path / "run.join", str(free_port())
    write(join, make())
    results = tmp_path / "results"
    address = ("--master-port", port, "--join", str(join))
    master = start(
        *world.arguments(world.scenario(BY_COLUMN), results),
        *("--master", "--expect-workers", "2", "--master-bind-host", "127.0.0.1", *address),
        env=world.env,
    )
    workers = [
        start(
            "run", "--worker", "--master-host", "127.0.0.1", "--allow-env", "API_KEY", *address, env=world.env
        )
        for _ in range(2)
    ]
    done, ended = Finished(master), [Finished(worker) for worker in workers]
    folder = only_run(results)
    expect_by_verdict(done, folder)
    expect_each_its_own(folder)
    shown = [text for each in (done, *ended) for text in (each.out, each.err)]
    assert "tok-" not in left_by(folder) + "".join(shown)


def test_a_client_whose_token_is_refused_is_named_by_its_line_and_the_run_goes_on(
    world: World, tmp_path: Path
) -> None:
    rows = "".join(f"{name},{'canary-4711' if n == 3 else f'tok-{name}'},x\n" for n, name in enumerate(IDS))
    world.write("people_bad.csv", f"id,token,plan\n{rows}")
    text = BY_COLUMN.replace("{csv: people.csv, secret", "{csv: people_bad.csv, secret")
    done, folder, kept = world.run(text, tmp_path)
    summary = expect_by_verdict(done, folder)
    named = "client 3 of users (people_bad.csv:5): the service refused the login: UnauthorizedException"
    assert named in done.err
    assert any(each.startswith(named) for each in summary["workers"]["network"])
    assert summary["connections"]["connected"] == CLIENTS - 1
    assert "canary-4711" not in kept


def test_a_run_in_which_no_token_is_any_good_ends_before_the_load(world: World, tmp_path: Path) -> None:
    world.write("people_none.csv", "id,token\n" + "".join(f"{name},canary-{name}\n" for name in IDS))
    text = world.scenario(BY_COLUMN.replace("{csv: people.csv, secret", "{csv: people_none.csv, secret"))
    done = loadgen(*world.arguments(text, tmp_path), env=world.env)
    assert done.code == 4, done.said
    assert "refused client 0 of users (people_none.csv:2)" in done.err
    assert "canary" not in done.said


@pytest.mark.parametrize("mode", ["oidc", "cognito"])
def test_the_usual_set_up_subscribes_by_a_token_and_publishes_by_iam_in_one_file(
    mode: str, world: World, tmp_path: Path
) -> None:
    text = BY_TOKEN_AND_IAM.replace("URL", world.url)
    if mode == "cognito":
        text = text.replace("mode: oidc", "mode: cognito").replace("login.example", "pool.example")
        text = text.replace("aud: app", "client_id: app, token_use: access")
    assert len(text.splitlines()) < 40
    results = tmp_path / "results"
    with command_lines() as listed:
        done = loadgen(
            *("run", world.scenario(text), "--results", str(results), "--allow-file", str(world.folder)),
            env=world.env,
        )
    folder = only_run(results)
    kept = left_by(folder) + done.out + done.err + "".join(listed)
    summary = expect_by_verdict(done, folder)
    assert summary["publish"]["errors"] == {}, done.said
    expect_each_its_own(folder)
    assert "run/secret" not in kept
    assert TOKEN not in kept, "a token stands somewhere"
    setup = summary["target"]["setup"]
    assert read(folder / "manifest.json")["target"]["auth"] == "iam from the environment"
    assert setup["login of users"].endswith("for each client by column people.id of people.csv")


def test_tokens_are_renewed_for_publishes_and_reconnects(world: World, tmp_path: Path) -> None:
    """Tokens are valid for 4 s, plus 5 that the server allows; a run of 12 s needs new ones."""
    login = MINTED.replace("EXPIRES", "4s")
    text = f"""version: 1
data: {{people: {{csv: people.csv}}}}
clients:
  users:
    count: 40
    subscribe: "/users/{{people.id}}"
    publish: {{channel: "/users/{{people.id}}", rate: 100/s}}
    churn: {{lifetime: 3s, spread: constant}}
    login: {login}
phases: {{warmup: 500ms, measure: 12s, drain: 1s}}
"""
    done, folder, kept = world.run(text, tmp_path, "--set", "gates=[]")
    # A client misses events that are published while it is away.
    summary = expect_by_verdict(done, folder, lossy=True)
    assert summary["publish"]["errors"] == {}, done.said
    assert summary["connections"]["errors"] == {}, done.said
    assert summary["recovery"]["on_purpose"]["left"] >= 80
    assert TOKEN not in kept


def test_two_subscriptions_of_a_client_have_logins_that_differ(world: World, tmp_path: Path) -> None:
    own = '{mode: lambda, token: "{people.token}"}'
    text = BY_COLUMN.replace(
        'subscribe: "/users/{people.id}"',
        'subscribe: ["/users/{people.id}", {channel: "/news/all", login: {mode: api-key, key_env: API_KEY}}]',
    ).replace("  backend:", "  editors: {count: 1, publish: {channel: /news/all, rate: 2/s}}\n  backend:")
    done, folder, _ = world.run(text, tmp_path)
    summary = expect_by_verdict(done, folder)
    assert summary["ledger"]["delivered"] > 5 * CLIENTS
    # /news accepts only API keys. With the client's own token for both subscriptions, the one to /news is
    # refused.
    text = text.replace("login: {mode: api-key, key_env: API_KEY}}]", f"login: {own}}}]")
    refused = loadgen(*world.arguments(world.scenario(text), tmp_path / "refused"), env=world.env)
    assert refused.code == 4, refused.said
    assert "subscription to /news/all refused" in refused.err


def test_a_command_is_run_for_each_client_at_a_bounded_rate(world: World, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = tmp_path / "login.py"
    script.write_text(
        "import sys, time\n"
        f"with open({str(log)!r}, 'a') as log:\n    print(time.time(), sys.argv[1], file=log)\n"
        "print('tok-' + sys.argv[1])\n"
    )
    text = BY_COLUMN.replace("secret: [token]", "first: 30").replace(f"count: {CLIENTS}", "count: 20")
    text = text.replace(
        'token: "{people.token}"',
        f'token_command: [{sys.executable}, {script}, "{{people.id}}"], rate: 10/s',
    )
    text = text.replace("anyone: {csv: people.csv", "anyone: {csv: people.csv, first: 20")
    refused = loadgen(*world.arguments(world.scenario(text), tmp_path / "refused"), env=world.env)
    assert refused.code == 2, refused.said
    assert "--allow-commands" in refused.err
    assert not log.exists()
    done, folder, _ = world.run(text, tmp_path / "results", "--allow-commands")
    expect_by_verdict(done, folder)
    expect_each_its_own(folder, 20)
    asked = [line.split() for line in log.read_text().splitlines()]
    # The master's test login is also used for the first client.
    assert sorted(name for _, name in asked[1:]) == sorted(IDS[:20])
    times = sorted(float(at_s) for at_s, _ in asked[1:])
    assert times[-1] - times[0] > 1.5, "20 logins at 10/s take 1.9 s"


def test_logins_that_do_not_fit_end_before_anything_is_sent(world: World, tmp_path: Path) -> None:
    world.write("people_gap.csv", f"id,token\n{IDS[0]},tok\n{IDS[1]},\n{IDS[2]},tök\n")
    for old, new, sentences in (
        ("people.token}", "people.tokn}", ["people.csv:1: there is no column 'tokn'; did you mean 'token'?"]),
        ("people.token}", "peple.token}", ["scenario.yaml:9:", "'peple' is no data; did you mean 'people'?"]),
        ("/users/{people.id}", "/users/{people.token}", ["scenario.yaml:8:", "a secret column"]),
        (
            "login: {mode: lambda",
            "login: {connect: {mode: iam}, mode: lambda",
            ["scenario.yaml:9:", "is not a known key"],
        ),
        (
            f"count: {CLIENTS}",
            "count: 3",
            [
                "people_gap.csv:3: clients.users.login.token cannot be used with this row: it is empty",
                "people_gap.csv:4: clients.users.login.token cannot be used with this row: it has characters",
            ],
        ),
        (
            "backend: {count: 2,",
            "backend: {count: 2, login: {connect: {mode: iam}},",
            ["scenario.yaml:10:", "the group only publishes over HTTP and opens no connection"],
        ),
    ):
        text = BY_COLUMN.replace(old, new)
        if new == "count: 3":
            text = text.replace("people.csv, secret", "people_gap.csv, secret")
        done = loadgen(*world.arguments(world.scenario(text), tmp_path), env=world.env)
        assert done.code == 2, done.said
        for sentence in sentences:
            assert sentence in done.err, done.said
        assert "tök" not in done.said
        assert not list(tmp_path.glob("*/manifest.json"))


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (REPO / "docs/cookbook/logins.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    for name, language, part in (
        ("people.csv", "csv", "id,token"),
        ("users.yaml", "yaml", "version: 1"),
        ("api.yaml", "yaml", "namespaces:"),
        ("authorizer.py", "python", "def decide"),
    ):
        (text,) = [text for kind, text in blocks if kind == language and part in text]
        (tmp_path / name).write_text(text)
    with ServerProcess(["--api", str(tmp_path / "api.yaml")]) as process:
        server = process.announcement
        done = loadgen(
            *("run", str(tmp_path / "users.yaml"), "--results", str(tmp_path / "results")),
            *("--target", server.http_url, "--api-key-env", "EVENTS_API_KEY"),
            env={"EVENTS_API_KEY": server.api_key},
        )
    summary = expect_by_verdict(done, only_run(tmp_path / "results"))
    assert summary["ledger"]["delivered"] == 100


def test_the_embedded_server_has_no_such_logins(world: World, tmp_path: Path) -> None:
    done = loadgen("run", world.scenario(BY_COLUMN), "--results", str(tmp_path), env=world.env)
    assert done.code == 2, done.said
    assert "the embedded server has a key of its own" in done.err
