"""Test finding scenarios by name and path, overrides and defaults."""

import pickle
from pathlib import Path

import pytest

from loadgen.paths import bundle
from loadgen.resolve.loading import catalogue, load
from loadgen.resolve.resolver import planned
from loadgen.scenario import ScenarioError, Settle
from loadgen.scenario.points import ProfilePoint
from tests.scenario.examples import GOOD, edited, with_publish
from tests.scenario.shipped import SHIPPED, Shipped

SECOND = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(GOOD)
    return tmp_path


def test_the_catalogue_has_every_scenario_with_its_description() -> None:
    entries = catalogue()
    assert [entry.name for entry in entries] == [
        "assistant",
        "broadcast",
        "chat",
        "comments",
        "cursors",
        "deploy-drop",
        "large-payloads",
        "notifications",
        "private-feeds",
        "reconnect-storm",
        "slow-consumers",
        "soak",
        "sports-burst",
        "subscription-churn",
        "support-chat",
        "telemetry",
        "token-expiry",
    ]
    assert [(entry.name, entry.path) for entry in entries] == list(SHIPPED)
    for entry in entries:
        assert entry.path.stem == entry.name
        assert entry.description.strip()


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_a_catalogue_scenario_loads_by_name_without_a_warning(entry: Shipped) -> None:
    scenario, run = planned(entry.name)
    assert scenario.name == entry.name
    assert run.warnings == ()
    assert len(scenario.gates) >= 3


def test_defaults_are_as_documented(folder: Path) -> None:
    scenario = load("x.yaml")
    assert (scenario.name, scenario.seed, scenario.target) == ("x", 1, None)
    publish = scenario.clients["writers"].publish
    assert publish is not None
    assert (publish.batch, publish.via, publish.arrival) == (1, "http", "constant")
    assert (publish.payload_bytes, publish.in_flight, publish.profile) == (200, 64, ())
    assert scenario.clients["readers"].ramp_per_s == 250
    phases = scenario.phases
    assert phases.ready == "probe"
    assert (phases.warmup_ns, phases.measure_ns, phases.drain_ns) == (SECOND, 20 * SECOND, 2 * SECOND)


def test_a_websocket_publisher_has_no_limit_of_requests_under_way(folder: Path) -> None:
    (folder / "x.yaml").write_text(with_publish("via: websocket"))
    publish = load("x.yaml").clients["writers"].publish
    assert publish is not None
    assert publish.in_flight is None


def test_ready_may_be_a_time_to_settle(folder: Path) -> None:
    (folder / "x.yaml").write_text(edited("warmup: 1s", "ready: {settle: 2s}"))
    ready = load("x.yaml").phases.ready
    assert isinstance(ready, Settle)
    assert ready.settle_ns == 2 * SECOND


def test_a_scenario_cannot_be_changed(folder: Path) -> None:
    scenario = load("x.yaml")
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 2


def test_overrides_replace_values_at_any_depth(folder: Path) -> None:
    scenario = load(
        "x.yaml",
        {
            "clients.readers.count": "7",
            "clients.writers.publish.arrival": "{bursts: 3}",
            "phases.drain": "9s",
            "target.url": "http://localhost:1/event",
            "name": "other",
        },
    )
    assert scenario.clients["readers"].count == 7
    publish = scenario.clients["writers"].publish
    assert publish is not None
    assert publish.burst == 3
    assert scenario.phases.drain_ns == 9 * SECOND
    assert scenario.target is not None
    assert scenario.target.url == "http://localhost:1/event"
    assert scenario.name == "other"


def test_an_override_reaches_the_entries_of_a_list(folder: Path) -> None:
    (folder / "x.yaml").write_text(with_publish("profile: [{at: 0s, load: 10%}, {at: 5s, load: 90%}]"))
    scenario = load("x.yaml", {"clients.writers.publish.profile.1.load": "50%"})
    publish = scenario.clients["writers"].publish
    assert publish is not None
    points = [point for point in publish.profile if isinstance(point, ProfilePoint)]
    assert [point.load_percent for point in points] == [10, 50]
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml", {"clients.writers.publish.profile.2.load": "50%"})
    assert str(caught.value) == "override: clients.writers.publish.profile has the entries 0 to 1, not '2'"


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("clients.reders.count", "5", "clients.reders is not in the scenario; did you mean 'readers'?"),
        ("clients.readers.count", "x", "clients.readers.count must be a whole number, not 'x'"),
        ("clients.readers.count.x", "5", "clients.readers.count has no parts that could be overridden"),
        ("clients.readers.count", "[1", "clients.readers.count is given as '[1', which is not YAML"),
        ("phases.wramup", "5s", "phases.wramup is not a known key; did you mean 'warmup'?"),
        ("phases.drain", "", "phases.drain has no value; give it one or remove it"),
        (
            "target.api_key_env",
            "da2-abcdefghijkl",
            "target.api_key_env holds what looks like an API key; put the key into an environment variable "
            "and that variable's name into target.api_key_env",
        ),
    ],
)
def test_a_mistake_in_an_override_is_told_from_one_in_the_file(
    folder: Path, key: str, text: str, sentence: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml", {"target.url": "https://x/event", key: text} if "target" in key else {key: text})
    assert str(caught.value) == f"override: {sentence}"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("commments", "there is no scenario 'commments'; did you mean 'comments'?"),
        ("comment.yaml", "comment.yaml: there is no such file; did you mean 'comments'?"),
        (".", ".: this is a directory; give a scenario's file or name"),
        ("a\0.yaml", "'a\\x00.yaml': no file can have this name"),
        ("\x1b[31m.yaml", "'\\x1b[31m.yaml': there is no such file; the catalogue has "),
        ("x" * 5000, f"there is no scenario '{'x' * 60}…'; known are "),
    ],
)
def test_a_scenario_that_is_not_there(folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(name)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_cannot_name_a_run_must_say_another(folder: Path) -> None:
    (folder / "試験.yaml").write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"\(its file's name; write 'name: …'\): name must be"):
        load("試験.yaml")
    assert load("試験.yaml", {"name": "my-test"}).name == "my-test"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my test.yaml", "my-test"),
        ("Ärger (2).yaml", "rger-2"),
        (".hidden.yaml", "hidden"),
        ("a.b_c-d.yml", "a.b_c-d"),
        (f"{'long ' * 20}.yaml", ("long-" * 20)[:64]),
    ],
)
def test_a_files_name_is_made_one_of_a_run(folder: Path, file: str, name: str) -> None:
    (folder / file).write_text(GOOD)
    assert load(file).name == name


def test_an_error_survives_the_way_between_processes() -> None:
    error = ScenarioError(["a: b", "c: d"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == ("a: b\nc: d", ("a: b", "c: d"))


def test_a_bundled_file_is_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (bundle("scenarios") / "comments.yaml").is_file()
    package = tmp_path / "site-packages" / "loadgen"
    (package / "_bundle" / "scenarios").mkdir(parents=True)
    monkeypatch.setattr("loadgen.paths._PACKAGE", package)
    monkeypatch.setattr("loadgen.paths._BUNDLE", package / "_bundle")
    assert bundle("scenarios") == package / "_bundle" / "scenarios"
    assert bundle("other") == tmp_path / "site-packages" / "other"
