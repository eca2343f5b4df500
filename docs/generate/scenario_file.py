"""The page on the scenario file: each key with its kind, default and meaning, from the JSON Schema of the models."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import WithJsonSchema
from writing import anchor, code, head, prose, table

from loadgen.config import units
from loadgen.scenario import json_schema

#: Titles of the page's sections by the name of the pydantic model, in the order of the page. A title is the key of the
#: scenario file that the section describes.
_PARTS = {
    "Target": "target",
    "Login": "target.auth, clients.GROUP.login",
    "Minting": "login.jwt",
    "Variable": "variables.NAME",
    "Group": "clients.GROUP",
    "OperationLogins": "clients.GROUP.login by operation",
    "Subscription": "clients.GROUP.subscribe, an entry as a mapping",
    "Publish": "clients.GROUP.publish",
    "Bursts": "publish.arrival as a mapping",
    "ProfilePoint": "publish.profile as points",
    "Steps": "publish.profile as steps",
    "StepRange": "publish.profile.steps as a mapping",
    "Ramp": "publish.profile as a ramp",
    "RampShape": "publish.profile.ramp",
    "LoadBursts": "publish.profile as bursts",
    "BurstShape": "publish.profile.bursts",
    "Daily": "publish.profile as a day",
    "DayShape": "publish.profile.daily",
    "Replay": "publish.profile from a CSV file",
    "Recorded": "publish.profile in a run's record",
    "Respond": "clients.GROUP.respond",
    "Reply": "respond.publish as a mapping",
    "RandomDelay": "respond.after as a mapping",
    "Uniform": "respond.after.uniform",
    "Exponential": "respond.after.exponential",
    "Lognormal": "respond.after.lognormal",
    "Reconnect": "clients.GROUP.reconnect",
    "Drop": "clients.GROUP.drops",
    "Churn": "clients.GROUP.churn",
    "Slow": "clients.GROUP.slow",
    "Phases": "phases",
    "Settle": "phases.ready as a mapping",
    "LongGate": "gates, an entry as a mapping",
}
_UNITS = {
    "DurationNs": "duration",
    "PositiveDurationNs": "duration",
    "SizeBytes": "size",
    "EventRate": "event rate",
    "ConnectRate": "connect rate",
    "ChangeRate": "change rate",
    "LoginRate": "login rate",
    "ByteRate": "byte rate",
    "Percent": "load",
    "Share": "share",
    "TimeOfDay": "time of day",
}


def page() -> str:
    """Return the page."""
    schema = json_schema()
    parts: dict[str, Any] = schema["$defs"]
    titles = {name: _PARTS.get(name, name) for name in parts}
    order = sorted(
        parts, key=lambda name: (list(_PARTS).index(name) if name in _PARTS else len(_PARTS), name)
    )
    text = [
        head("The scenario file", "`loadgen/scenario`"),
        "A scenario is a YAML file. `loadgen schema` prints its schema as JSON Schema, with which editors check the"
        " file as you write; messages about mistakes name the file and line. `--set KEY=VALUE` overrides one value, as"
        " in `--set clients.readers.count=2000`.\n",
        "Quantities need a unit: `5s`, not `5`. Required keys are marked *required*; all other keys may be left out.\n",
        "## The file\n",
        _keys(schema, titles),
    ]
    for name in order:
        text += [f"## {titles[name]}\n", prose(parts[name].get("description", "")) + "\n"]
        text.append(_keys(parts[name], titles))
    text += ["## Units\n", "Spaces before a unit are allowed.\n"]
    text.append(table(("kind", "written", "examples"), _unit_rows()))
    return "\n".join(text)


def _keys(part: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    required = set(part.get("required", ()))
    rows = []
    for key, value in part["properties"].items():
        default = code(_yaml(value["default"])) if "default" in value else ""
        if key in required:
            default = "*required*"
        rows.append((code(key), _kind(value, titles), default, prose(value["description"])))
    return table(("key", "kind", "default", "meaning"), rows)


def _kind(value: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Describe the allowed values of a key in a few words of Markdown."""
    if "$ref" in value:
        title = titles[value["$ref"].rsplit("/", 1)[1]]
        # If a model's title names one of several forms, as in "… as points", show the form, else `mapping`.
        form = re.search(r" (?:as|from|in) (.+)", title)
        return f"[{form[1] if form else 'mapping'}](#{anchor(title)})"
    for choice in ("anyOf", "oneOf"):
        if choice in value and "type" not in value:
            return " or ".join(dict.fromkeys(_kind(each, titles) for each in value[choice]))
    if "const" in value:
        return code(value["const"])
    if "enum" in value:
        return ", ".join(code(each) for each in value["enum"])
    if "patternProperties" in value:
        (inner,) = value["patternProperties"].values()
        return f"name: {_kind(inner, titles)}, …"
    match value.get("type"):
        case "string":
            unit = _patterns().get((value.get("pattern", ""), *value.get("examples", ())))
            return f"[{unit}](#units)" if unit else "text"
        case "integer" | "number" as kind:
            return _bounded("whole number" if kind == "integer" else "number", value)
        case "boolean":
            return "`true`, `false`"
        case "array":
            low, high = value.get("minItems"), value.get("maxItems")
            count = f" of {low or 0:,} to {high:,}" if high else ""
            return f"list{count}: {_kind(value.get('items', {}), titles)}"
        case "object":
            return "mapping"
    return "anything"


def _bounded(kind: str, value: Mapping[str, Any]) -> str:
    low, above, high = value.get("minimum"), value.get("exclusiveMinimum"), value.get("maximum")
    parts = [f"from {low:,}" if low is not None else f"above {above:,}" if above is not None else ""]
    if high is not None:
        parts.append("to 2^63 − 1" if high == 2**63 - 1 else f"to {high:,}")
    return " ".join([kind, *filter(None, parts)])


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(each) for each in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _schemas() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the JSON Schema of each kind of quantity, such as a duration, rate or share."""
    for name, value in vars(units).items():
        for extra in getattr(value, "__metadata__", ()):
            if isinstance(extra, WithJsonSchema) and extra.json_schema is not None:
                yield _UNITS[name], extra.json_schema


def _patterns() -> dict[tuple[str, ...], str]:
    """Return the name of each kind of quantity by its pattern and examples.

    The pattern alone is not enough: some kinds, such as loads and shares, have the same one.
    """
    return {(schema["pattern"], *schema["examples"]): name for name, schema in _schemas()}


def _unit_rows() -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for name, schema in _schemas():
        if name not in seen:
            seen.add(name)
            examples = ", ".join(code(example) for example in schema.get("examples", ()))
            yield name, prose(schema.get("description", "")), examples
