"""Test whole runs on targets that throttle, deny, or always ask clients to come back later."""

import json
from pathlib import Path

import pytest

from tests.system.harness import Finished, loadgen, only_run, overrides, read
from tests.system.users.player import Player

SETTINGS = (
    "gates=[]",
    "clients.readers.count=40",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=2",
    "clients.commenters.publish.rate=20/s",
    "phases.warmup=200ms",
    "phases.measure=1s",
    "phases.drain=300ms",
)


def run(folder: Path, faults: dict[str, object], *more: str) -> Finished:
    return loadgen(*arguments(folder, faults, *more))


def arguments(folder: Path, faults: dict[str, object], *more: str) -> tuple[str, ...]:
    file = folder / "faults.yaml"
    file.write_text(json.dumps(faults))
    settings = overrides((*SETTINGS, *more))
    return "run", "comments", *settings, "--faults", str(file), "--results", str(folder / "results")


def test_clients_that_are_told_to_come_later_come_and_the_rate_of_admission_is_told(tmp_path: Path) -> None:
    """The service answers 429; tests/protocol/test_refusals.py tests that 503 means the same."""
    faults: dict[str, object] = {
        "upgrades": {"rate": "15/s", "status": 429, "retry_after": "1s"},
        "subscribes": {"rate": "8/s"},
    }
    done = run(tmp_path, faults)
    folder = only_run(tmp_path / "results")
    summary = read(folder / "summary.json")
    assert summary["status"] == "complete", done.said
    assert summary["connections"]["clients"] == 40
    its, subscribes = summary["throttling"]["connections"], summary["throttling"]["subscriptions"]
    assert its["refused"] >= 10
    (answer,) = its["answers"]
    assert "HTTP 429" in answer
    assert answer.endswith("LimitExceededError")
    # Clients are admitted no faster than the limit, but a busy machine may be slower.
    # tests/analysis/figures/test_outages.py tests how the rate is computed.
    assert its["admitted"] > 0, done.said
    if its["admitted_per_s"] is not None:
        seconds = (its["last_ns"] - its["first_ns"]) / 1e9
        assert its["admitted_per_s"] == pytest.approx(its["admitted"] / seconds)
        assert its["admitted"] <= 15 * (seconds + 1), done.said
    assert subscribes["refused"] >= 1
    assert "attempts to connect for now" in done.out, done.said
    assert "da2-" not in done.said


def test_one_who_is_denied_ends_the_run_at_once_with_the_advice_that_fits(
    tmp_path: Path, commands: Player
) -> None:
    done = commands.command(tmp_path, "loadgen", *arguments(tmp_path, {"upgrades": {"status": 403}}))
    assert done.code == 4, done.said
    assert "refused us" in done.err
    assert "HTTP 403 (Forbidden), UnauthorizedException; check the key" in done.err
    assert "service is running" not in done.err
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_a_target_that_never_lets_anybody_in_is_asked_until_the_patience_is_over(
    tmp_path: Path, commands: Player
) -> None:
    asked = arguments(tmp_path, {"upgrades": {"status": 503}}, "phases.ready_timeout=2s")
    done = commands.command(tmp_path, "loadgen", *asked)
    assert done.code == 4, done.said
    assert "does not let us in now" in done.err
    assert "trying again in" in done.err
    assert "for 2 s; the target throttles: ramp more slowly" in done.err


def test_a_ramp_that_the_target_does_not_take_in_time_says_why(tmp_path: Path) -> None:
    # Within the timeout of 2 s, only the first check and one or two of the forty clients are admitted.
    done = run(tmp_path, {"upgrades": {"rate": "1/s"}}, "phases.ready_timeout=2s")
    assert done.code == 4, done.said
    assert "not all clients could connect and subscribe" in done.err
    assert "refused" in done.err
    assert "ramp more slowly" in done.err
