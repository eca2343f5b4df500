"""Test a user's copy of the scenario private-feeds on a server with its API file, against the server's journal."""

from pathlib import Path

import pytest

from loadgen.scenario_run import ScenarioRun, run_scenario
from loadgen.server.journal_reader import Journal
from loadgen.server.process import ServerProcess
from tests.system.harness import demanded, loadgen, read

pytestmark = pytest.mark.long

USERS = 120
SMALLER = {
    "clients.users.count": USERS,
    "clients.backend.publish.rate": "100/s",
    "phases.warmup": "500ms",
    "phases.measure": "2s",
    "phases.drain": "1s",
}


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private") / "feeds"
    assert loadgen("scenarios", "private-feeds", "--copy", str(folder)).code == 0
    made = loadgen("keys", str(folder / "private-feeds"))
    assert made.code == 0, made.said
    return folder


def played(feeds: Path, journal: Path, results: Path, **more: object) -> ScenarioRun:
    key = feeds / "private-feeds" / "signing.pem"
    api = ["--api", str(feeds / "private-feeds" / "api.yaml"), "--journal", str(journal)]
    with ServerProcess(api) as server:
        return run_scenario(
            feeds / "private-feeds.yaml",
            target=server.announcement.http_url,
            api_key=server.announcement.api_key,
            allow_file=[key],
            overrides={**SMALLER, "clients.users.login.jwt.key_file": str(key), **more},
            results=results,
        )


def test_each_event_comes_to_its_owner_and_to_none_else(feeds: Path, tmp_path: Path) -> None:
    run = played(feeds, tmp_path / "journal", tmp_path / "runs")
    assert run.exit_code == demanded(run.summary), run
    assert run.summary["connections"]["errors"] == {}
    # User N subscribes to the channel named in row N of people.csv.
    channels = run.subscriptions.drop_duplicates("subscription").set_index("subscription")["channel"]
    people = (feeds / "private-feeds" / "people.csv").read_text().splitlines()[1 : USERS + 1]
    assert channels.to_dict() == {
        number: f"/feeds/users/{line.partition(',')[0]}" for number, line in enumerate(people)
    }
    # Compare the record with the server's journal: each delivery is on the channel of its event.
    came = run.deliveries.merge(
        run.events[["publisher", "sequence", "channel"]], on=["publisher", "sequence"], validate="m:1"
    )
    assert len(came) > 20
    assert (came["subscription"].map(channels).astype(str) == came["channel"].astype(str)).all()
    journal = Journal.load(tmp_path / "journal")
    of_event = {row["event"]: row["channel"] for row in journal.events.to_pylist()}
    of_subscription = {row["subscription"]: row["pattern"] for row in journal.subscriptions.to_pylist()}
    written = [row for row in journal.deliveries.to_pylist() if row["written_ns"] is not None]
    assert all(of_event[row["event"]] == of_subscription[row["subscription"]] for row in written)
    assert loadgen("verify", str(run.folder)).code == 0


def test_a_user_that_wants_the_channel_of_another_is_refused_by_name(feeds: Path, tmp_path: Path) -> None:
    # The scenario is changed: all tokens now name `somebody-else` as their user.
    run = played(
        feeds,
        tmp_path / "journal",
        tmp_path / "runs",
        **{"clients.users.count": 3, "clients.users.login.jwt.claims.sub": "somebody-else"},
    )
    assert not run.passed
    assert "nauthorized" in run.output
    journal = Journal.load(tmp_path / "journal")
    assert journal.subscriptions.num_rows == 0


def test_nothing_of_the_key_or_a_token_is_kept(feeds: Path, tmp_path: Path) -> None:
    run = played(feeds, tmp_path / "journal", tmp_path / "runs", **{"clients.users.count": 20})
    run.report()
    kept = run.output.encode() + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    secret = (feeds / "private-feeds" / "signing.pem").read_text().splitlines()[1]
    assert secret.encode() not in kept
    # Each token begins with `{"alg":"ES256"` in base64.
    assert b"eyJhbGciOiJFUzI1Ni" not in kept
    setup = read(run.folder / "manifest.json")["target"]["setup"]
    assert setup["login of users"].startswith("oidc from JWTs signed here by")
