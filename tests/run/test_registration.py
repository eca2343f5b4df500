"""Test how workers register: introductions, refusals, and invalid options."""

import msgspec
from typer.testing import CliRunner

from loadgen.cli.app import app
from loadgen.run.registration import introduction, refusal


def test_what_a_worker_says_of_itself_is_believed_only_where_it_can_be() -> None:
    hello = introduction("0.5", "10.0.0.7")
    assert refusal(hello) is None
    assert "messages 99" in str(refusal(msgspec.structs.replace(hello, format=99)))
    assert "a weight is a number" in str(refusal(msgspec.structs.replace(hello, weight="heavy")))


def test_a_weight_that_is_none_is_told_before_anything_starts() -> None:
    for arguments, said in (
        (["--worker", "--weight", "heavy"], "--weight: a weight is a number such as 2 or 0.5"),
        (["comments", "--weight", "2"], "--weight is a worker's"),
        (["--worker", "--master"], "--worker cannot be combined with --master"),
        ([], "name a scenario"),
    ):
        result = CliRunner().invoke(app, ["run", *arguments])
        assert result.exit_code == 2
        assert said in result.stderr
