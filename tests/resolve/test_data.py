"""Test data in scenarios: which rows clients and publishes take, and the message about each mistake."""

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadgen.cli.capacity
import loadgen.cli.plan
import loadgen.cli.scenarios  # noqa: F401  registers its command
from loadgen.cli.app import app
from loadgen.planning.catalogue import portrait
from loadgen.planning.fanout import audience, group_loads
from loadgen.resolve import Clients, ResolvedRun
from loadgen.resolve.loading import from_resolved
from loadgen.resolve.resolver import planned, run_of
from loadgen.resolve.rows import ClientRows
from loadgen.resolve.run import decoded, encoded
from loadgen.scenario import ScenarioError

PEOPLE = "\ufeffid,room,token\r\n" + "".join(f"u{n},r{n % 3},tok-{n}\r\n" for n in range(10))
SCENARIO = """version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
clients:
  users: {count: 10, subscribe: "/default/users/{people.id}"}
  backend: {count: 2, publish: {channel: "/default/users/{anyone.id}", rate: 100/s}}
phases: {warmup: 0s, measure: 10s}
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(PEOPLE, newline="")


def resolved(text: str = SCENARIO) -> tuple[ResolvedRun, Clients]:
    Path("x.yaml").write_text(text)
    run, tables = run_of("x.yaml")
    return run, Clients(run, tables, ClientRows(run, tables))


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as raised:
        resolved(text)
    return raised.value.problems


def test_each_client_has_its_own_row_and_requests_draw_any() -> None:
    run, clients = resolved()
    assert [clients.client(k).subscriptions[0].channel for k in range(10)] == [
        f"/default/users/u{k}" for k in range(10)
    ]
    assert clients.client(3).values == {"people.id": "u3"}
    publish = clients.client(10).publish
    assert publish is not None
    draw = publish.channels()
    drawn = [draw.next() for _ in range(200)]
    assert set(drawn) == {f"/default/users/u{k}" for k in range(10)}
    again = publish.channels()
    assert [again.next() for _ in range(200)] == drawn
    assert decoded(encoded(run)) == run


def test_requests_of_a_group_take_the_rows_in_turn() -> None:
    _, clients = resolved(SCENARIO.replace("assign: random", "assign: in-turn"))
    draws = [plan.channels() for number in (10, 11) if (plan := clients.client(number).publish) is not None]
    taken = [draw.next() for _ in range(5) for draw in draws]
    assert taken == [f"/default/users/u{k}" for k in range(10)]


def test_the_expected_fan_out_is_known_where_values_are_distinct() -> None:
    run, _ = resolved()
    (load,) = group_loads(run, audience(run))
    assert load.deliveries == pytest.approx(1000)
    half, _ = resolved(SCENARIO.replace("count: 10", "count: 5"))
    (load,) = group_loads(half, audience(half))
    assert load.deliveries == pytest.approx(500)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{people.id}", "{people.room}"),
        ("/default/users/{people.id}", "/default/users/u3"),
        ("{csv: people.csv, assign: random}", "{csv: others.csv, assign: random}"),
    ],
)
def test_the_expected_fan_out_is_unknown_where_values_would_have_to_be_compared(old: str, new: str) -> None:
    Path("others.csv").write_text("id\nu1\n")
    text = SCENARIO.replace(old, new)
    if "{people." not in text:
        text = text.replace("  people: {csv: people.csv, secret: [token]}\n", "")
    run, _ = resolved(text)
    (load,) = group_loads(run, audience(run))
    assert load.deliveries is None


def test_rows_that_cannot_match_need_no_comparison() -> None:
    Path("others.csv").write_text("id\nu1\n")
    run, _ = resolved(
        SCENARIO.replace("{csv: people.csv, assign: random}", "{csv: others.csv, assign: random}").replace(
            "/default/users/{anyone", "/default/rooms/{anyone"
        )
    )
    (load,) = group_loads(run, audience(run))
    assert load.deliveries == 0


def test_a_variable_and_a_column_stand_in_one_channel() -> None:
    _, clients = resolved(
        SCENARIO.replace("data:", "variables: {topic: {count: 4, assign: by-client}}\ndata:")
        .replace("{people.id}", "{people.id}/{topic}")
        .replace("{anyone.id}", "{anyone.id}/{topic}")
    )
    assert clients.client(6).subscriptions[0].channel == "/default/users/u6/2"
    publish = clients.client(11).publish
    assert publish is not None
    assert {publish.channels().next().rpartition("/")[2]} == {"1"}


def test_the_record_tells_how_many_rows_were_read() -> None:
    run, _ = resolved()
    assert run.document["data"]["people"] == {
        "csv": "people.csv",
        "assign": "by-client",
        "first": 10,
        "secret": ["token"],
    }
    again = from_resolved(run.document)
    assert again.resolved() == run.document


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "count: 10",
            "count: 11",
            "x.yaml:6: clients.users.count is 11, and people.csv has 10 rows to use: give it more rows, or use rows"
            " again with 'assign: in-turn' in data.people",
        ),
        (
            "{people.id}",
            "{people.idd}",
            "people.csv:1: there is no column 'idd'; did you mean 'id'?",
        ),
        (
            "{people.id}",
            "{peple.id}",
            "x.yaml:6: clients.users.subscribe has {peple.id}, and 'peple' is no data; did you mean 'people'?",
        ),
        (
            "{people.id}",
            "{people}",
            "x.yaml:6: clients.users.subscribe has {people}, which is data: name one of its columns too, as in"
            " {people.id}",
        ),
        (
            "{people.id}",
            "{people.token}",
            "x.yaml:6: clients.users.subscribe has {people.token}, a secret column, which would get into the record;"
            " only logins may use it",
        ),
        (
            "csv: people.csv, secret: [token]",
            "csv: ../people.csv, secret: [token]",
            "x.yaml:3: data.people.csv names '../people.csv', which is outside the scenario's folder; put the file"
            " beside the scenario",
        ),
        (
            "csv: people.csv, secret: [token]",
            "csv: none.csv",
            "none.csv: the file cannot be read: No such file or directory",
        ),
        (
            "csv: people.csv, secret: [token]",
            "csv: people.csv, jsonl: x.jsonl",
            "x.yaml:3: data.people has both csv and jsonl; keep one of them",
        ),
        (
            "  anyone:",
            "  nobody: {csv: people.csv}\n  anyone:",
            "x.yaml:4: data.nobody is used nowhere; write {nobody.COLUMN} in a channel, payload or login, or remove it",
        ),
    ],
)
def test_mistakes(old: str, new: str, sentence: str) -> None:
    assert sentence in problems(SCENARIO.replace(old, new, 1))


def test_each_row_that_makes_no_channel_is_told_with_its_line() -> None:
    Path("people.csv").write_text("id,token\nfine,1\n,2\na/b,3\nwith space,4\n")
    found = problems(SCENARIO.replace("count: 10", "count: 4"))
    places = Counter(each.partition(": ")[0] for each in found)
    # Both groups use all rows, so each invalid row is reported twice.
    assert places == {"people.csv:3": 2, "people.csv:4": 2, "people.csv:5": 2}
    assert found[0].startswith(
        "people.csv:3: clients.users.subscribe.0 cannot be used with this row: people.id is empty"
    )
    assert "has a '/', which would begin another segment" in found[1]
    # Mistakes in rows that no client takes are not reported.
    assert all("clients.backend" in each for each in problems(SCENARIO.replace("count: 10", "count: 1")))


def test_a_plan_and_a_portrait_know_the_rows() -> None:
    Path("x.yaml").write_text(SCENARIO)
    scenario, run = planned("x.yaml", ["clients.users.count=5"])
    assert scenario.data["people"].first == 10
    (load,) = group_loads(run, audience(run))
    assert load.subscribers == pytest.approx(0.5)
    each = portrait("x.yaml", Path("x.yaml"))
    assert each.deliveries is not None
    assert each.deliveries.mean == pytest.approx(100)
    result = CliRunner().invoke(app, ["scenarios", "x.yaml"])
    assert "{people.…}: 10 rows of people.csv, by-client" in result.output
    result = CliRunner().invoke(app, ["plan", "x.yaml", "--set", "clients.users.count=5"])
    assert "500 expected deliveries" in " ".join(result.output.split())


def test_a_plan_says_what_is_wrong_with_the_data() -> None:
    Path("x.yaml").write_text(SCENARIO)
    for command in (["plan", "x.yaml"], ["capacity", "x.yaml", "--slo", "delivery.loss < 1%"]):
        result = CliRunner().invoke(app, [*command, "--set", "clients.users.count=11"])
        assert result.exit_code == 2
        assert "is 11, and people.csv has 10 rows" in result.output


def test_logins_do_not_hide_the_fan_out() -> None:
    login = '{count: 10, login: {mode: lambda, token: "{people.token}"},'
    run, _ = resolved(SCENARIO.replace("{count: 10,", login))
    (load,) = group_loads(run, audience(run))
    assert load.subscribers == pytest.approx(1)
