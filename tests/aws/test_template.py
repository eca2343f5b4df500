"""Test the CloudFormation template against AWS's own schemas, and the stack that `up` makes from it."""

import json
from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from loadgen.aws.access import AwsError
from loadgen.aws.template import PATH, body, logical_id, render

pytestmark = pytest.mark.long

#: Names of 1 to 50 characters. Drawing them from a regular expression would take twice as long.
_ENDS = st.sampled_from(ascii_letters + digits)
NAMES = st.one_of(
    _ENDS, st.builds("{}{}{}".format, _ENDS, st.text(ascii_letters + digits + "-", max_size=48), _ENDS)
)


def found(template: str, *regions: str) -> list[str]:
    """Return the findings that the command `cfn-lint` would print for a template in these regions."""
    # Import cfnlint only here: at the top, every process of a test run would load it when it collects this file.
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    return [
        f"{match.rule.id} {match.message}" for match in lint(template, config=ManualArgs(regions=[*regions]))
    ]


def test_it_is_clean_as_shipped_and_as_sent() -> None:
    far_apart = ("us-east-1", "eu-west-1", "ap-northeast-1")
    assert found(PATH.read_text(), *far_apart) == []
    assert found(body(["default", "chat-rooms", "Chat"]), *far_apart) == []
    # Check that the linter does find a mistake.
    broken = PATH.read_text().replace("AuthType: API_KEY", "AuthType: PASSWORD", 1)
    assert any("PASSWORD" in said for said in found(broken, "us-east-1"))


def test_as_shipped_it_is_what_up_sends_for_the_default_namespace() -> None:
    shipped: dict[str, Any] = YAML(typ="safe", pure=True).load(PATH)
    assert shipped == render(["default"])


def test_the_key_is_in_no_output() -> None:
    outputs = render(["default"])["Outputs"]
    assert "Key" not in json.dumps([output["Value"] for output in outputs.values()])


@given(st.sets(NAMES, min_size=1, max_size=6))
def test_each_namespace_has_a_resource_of_its_own(names: set[str]) -> None:
    template = render(names)
    its = {
        key: resource["Properties"]["Name"]
        for key, resource in template["Resources"].items()
        if resource["Type"] == "AWS::AppSync::ChannelNamespace"
    }
    assert set(its.values()) == names
    assert all(key.isalnum() and key == logical_id(name) for key, name in its.items())
    assert template["Outputs"]["Namespaces"]["Value"].split(",") == sorted(names)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a b", "x" * 51, "ü"])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(AwsError, match="cannot be the name of a namespace"):
        render(["default", name])
