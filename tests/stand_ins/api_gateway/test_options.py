"""Test the options of the stand-in for API Gateway."""

from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from loadgen.stand_ins.api_gateway.authorization import read_users
from loadgen.stand_ins.api_gateway.options import Options
from loadgen.stand_ins.options import OptionError


def test_options_have_the_services_values_by_default() -> None:
    options = Options.of({})
    assert (options.idle_s, options.lifetime_s, options.concurrency) == (600, 7_200, 50)
    assert not options.pings_count
    assert options.lose_every == options.gone_every == options.throttle_every == 0


def test_options_are_read_by_their_names() -> None:
    given = {
        "authorizer": "custom",
        "users": "u.csv",
        "idle-s": "0.5",
        "lose-every": "7",
        "pings-count": "yes",
    }
    options = Options.of(given)
    assert options.users == Path("u.csv")
    assert (options.idle_s, options.lose_every, options.pings_count) == (0.5, 7, True)


@pytest.mark.parametrize("field", fields(Options), ids=lambda field: field.name)
def test_each_field_is_an_option_of_its_name(field: Field[Any]) -> None:
    words = {"authorizer": "custom", "pings_count": "yes", "acknowledge": "before", "users": "u.csv"}
    given = {field.name.replace("_", "-"): words.get(field.name, "17")}
    if field.name == "users":
        given["authorizer"] = "custom"
    wanted = {"pings_count": True, "users": Path("u.csv")}.get(field.name, words.get(field.name, 17))
    assert getattr(Options.of(given), field.name) == wanted
    assert getattr(Options.of({}), field.name) == field.default != wanted


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"loose-every": "1"}, "loose-every is unknown: this service has account-burst, "),
        ({"lose-every": "-1"}, "lose-every=-1 is out of range: it may be 0 to"),
        ({"lose-every": "1.5"}, "lose-every=1.5 is not a whole number"),
        ({"concurrency": "0"}, "it may be 1 to"),
        ({"idle-s": "nan"}, "idle-s=nan is out of range: it may be 0 to"),
        ({"idle-s": "x"}, "idle-s=x is out of range"),
        ({"authorizer": "jwt"}, "none or custom or iam"),
        ({"pings-count": "1"}, "no or yes"),
        ({"users": "u.csv"}, "goes with authorizer=custom"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(given: dict[str, str], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        Options.of(given)


def test_users_come_from_a_file_and_a_faulty_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,token,plan\nada,tok-ada,free\nbob,tok-bob,pro\n")
    assert read_users(path) == {"tok-ada": "ada", "tok-bob": "bob"}
    path.write_text("id,token\nada,tok-canary\nbob,\n")
    with pytest.raises(OptionError, match=r"people.csv':3: a user needs") as caught:
        read_users(path)
    assert "canary" not in str(caught.value)
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_users(tmp_path / "none.csv")
