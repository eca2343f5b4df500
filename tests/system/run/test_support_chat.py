"""Test the catalogue's support chat (users with tasks, and an API made for them) from a copy as users make it."""

from pathlib import Path

import pytest

from loadgen.scenario_run import run_scenario
from loadgen.server.process import ServerProcess
from tests.system.harness import demanded, loadgen

pytestmark = pytest.mark.long

CUSTOMERS, AGENTS = 12, 6


def test_customers_are_answered_and_the_ledger_has_it(tmp_path: Path) -> None:
    copied = loadgen("scenarios", "support-chat", "--copy", str(tmp_path / "chat"))
    assert copied.code == 0, copied.said
    api = str(tmp_path / "chat" / "support-chat" / "api.yaml")
    with ServerProcess(["--api", api]) as server:
        run = run_scenario(
            tmp_path / "chat" / "support-chat.yaml",
            target=server.announcement.http_url,
            api_key=server.announcement.api_key,
            allow_users=True,
            overrides={
                "clients.customers.count": CUSTOMERS,
                "phases.warmup": "2s",
                "phases.measure": "6s",
                "phases.drain": "1s",
                # On a busy machine answers may be late.
                "gates": [],
            },
            results=tmp_path / "runs",
        )
    assert run.ledger["balances"], run
    assert run.exit_code == demanded(run.summary), run
    # An answer is due when the question arrives, not when the agent's next task is due.
    assert run.summary["delivery"]["headline_ns"]["negative"] == 0
    channels = set(run.subscriptions["channel"].astype(str))
    assert {f"/support/desks/{desk}" for desk in range(AGENTS)} <= channels
    assert len([each for each in channels if each.startswith("/support/tickets/")]) == CUSTOMERS
    # Agents answer on the ticket's channel. All customers receive what is published on `/support/open/`.
    asked = run.events[run.events["channel"].astype(str).str.startswith("/support/desks/")]
    answers = run.events[run.events["channel"].astype(str).str.startswith("/support/tickets/")]
    assert 0 < len(answers) <= len(asked)
    shown = run.events[run.events["channel"].astype(str).str.startswith("/support/open/")]
    came = run.deliveries.merge(shown[["publisher", "sequence"]], on=["publisher", "sequence"])
    assert came["subscription"].nunique() == CUSTOMERS
    assert run.summary["checks"]["named"].keys() == {"answered within 10 s"}
