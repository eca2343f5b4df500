"""Test that a worker counts failures for a limited number of reasons, and that the first reason is reported."""

import pytest

from loadgen.run.worker.troubles import Troubles


def test_complaints_are_counted_up_to_a_number_of_reasons_and_the_first_fatal_one_stays() -> None:
    troubles = Troubles(3)
    for number in range(50):
        troubles.report_error(f"reason {number}", fatal=number >= 30)
        troubles.report_error("reason 0", fatal=False)
    assert len(troubles.complaints) == 20
    assert troubles.complaints["reason 0"] == 51
    assert troubles.fatal == "reason 30"


def test_a_note_is_printed_once_and_counted_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    troubles = Troubles(3)
    for number in range(60):
        for _ in range(2):
            troubles.on_network(f"note {number}")
    assert troubles.network == {f"note {number}": 2 for number in range(50)}
    said = capsys.readouterr().err.splitlines()
    assert said == [f"loadgen: worker 3: note {number}" for number in range(50)]


def test_the_first_reason_why_a_worker_cannot_go_on_counts() -> None:
    troubles = Troubles(3)
    troubles.on_broken("cannot write its record: no space left")
    troubles.on_broken("cannot read its record: gone")
    assert troubles.broken == "worker 3 cannot write its record: no space left"
