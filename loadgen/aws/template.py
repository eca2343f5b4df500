"""The CloudFormation template, filled in with the channel namespaces of one stack."""

import copy
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from loadgen.aws.access import AwsError
from loadgen.exits import ExitCode

PATH: Final = Path(__file__).with_name("template.yaml")
DEFAULT_NAMESPACE: Final = "default"
#: The pattern of a namespace name, from botocore's service model of AppSync (shape Namespace).
_NAMESPACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?")


def render(namespaces: Iterable[str]) -> dict[str, Any]:
    """Return the template with exactly these namespaces.

    Each namespace becomes a plain resource here, since CloudFormation's own loop (Fn::ForEach) is a transform that
    needs further permissions. The logical id depends only on the name, so adding a namespace leaves the others as they
    are.

    Raises:
        AwsError: a name is not a valid namespace name, or no name is given; exit code 2.
    """
    names = sorted(set(namespaces))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise AwsError(
                f"{name!a} cannot be the name of a namespace: 1 to 50 letters, digits and inner hyphens",
                ExitCode.USAGE,
            )
    if not names:
        raise AwsError("an Event API needs a namespace: name one with --namespace", ExitCode.USAGE)
    template = copy.deepcopy(_shipped())
    resources = template["Resources"]
    model = resources.pop(logical_id(DEFAULT_NAMESPACE))
    for name in names:
        resources[logical_id(name)] = {**model, "Properties": {**model["Properties"], "Name": name}}
    template["Outputs"]["Namespaces"]["Value"] = ",".join(names)
    return template


@cache
def _shipped() -> dict[str, Any]:
    from ruamel.yaml import YAML

    shipped: dict[str, Any] = YAML(typ="safe", pure=True).load(PATH)
    return shipped


def body(namespaces: Iterable[str]) -> str:
    """Return the template as JSON, ready for CloudFormation."""
    return json.dumps(render(namespaces), indent=1)


def logical_id(name: str) -> str:
    """Return a unique logical id for a namespace's resource, of letters and digits only."""
    plain = name.replace("-", "")
    return f"Namespace{plain}" + ("" if plain == name else hashlib.sha256(name.encode()).hexdigest()[:8])
