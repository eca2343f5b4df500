"""Parse quantities with units, and write them back exactly.

Durations are held in nanoseconds, rates per second, and sizes in bytes. Every parser raises ``PydanticCustomError``
with a message that completes a sentence that begins with the value's path.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from loadgen.config.text import shown

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>\S.*)?", re.ASCII)

_TIME_OF_DAY_PATTERN = r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?"
_TIME_OF_DAY = re.compile(_TIME_OF_DAY_PATTERN, re.ASCII)

_TIMES_NS = {
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
_SIZES = {"MB": 10**6, "KB": 10**3, "KiB": 1024, "B": 1}
_PERIODS_S = {"s": 1, "min": 60, "h": 3600}
#: Units that people often write instead of the right ones, for suggestions.
_OTHER_NAMES = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m",
    "minutes": "m", "hour": "h", "hours": "h", "hr": "h", "msec": "ms", "µs": "us", "usec": "us",
    "b": "B", "byte": "B", "bytes": "B", "k": "KB", "K": "KB", "kb": "KB", "kB": "KB", "Kb": "KB",
    "kib": "KiB", "KIB": "KiB", "Ki": "KiB", "mb": "MB", "M": "MB",
    "/m": "/min", "/sec": "/s", "/second": "/s", "/minute": "/min", "/hour": "/h", "ps": "/s",
}  # fmt: skip

OFF = "off"
_ECHO_LEAST_NS = 10 * 10**6
MAX_DURATION_NS = 7 * 24 * _TIMES_NS["h"]
MAX_RATE_PER_S = 10_000_000


def problem(message: str) -> PydanticCustomError:
    """Return the error for a value; ``message`` completes a sentence that begins with the value's path."""
    return PydanticCustomError("scenario", "{message}", {"message": message})


def _parts(value: object, kind: str, example: str, units: Mapping[str, Any]) -> tuple[Fraction, str]:
    """Return a quantity's number and unit; raise an error for a bare number, another type, or an unknown unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = example.lstrip("0123456789")
        raise problem(f"is {shown(value)} without a unit; write '{shown(value)}{unit}' if that is meant")
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 60 else None
    if match is None:
        raise problem(f"must be {kind} such as '{example}', not {shown(value)}")
    number, unit = match["number"], (match["unit"] or "").strip()
    if not unit:
        suggestion = number + example.lstrip("0123456789")
        raise problem(f"is {shown(value)} without a unit; write '{suggestion}' if that is meant")
    if unit not in units:
        other = _OTHER_NAMES.get(unit)
        right = f"; write '{number}{other}'" if other in units else f"; units are {', '.join(units)}"
        raise problem(f"has the unknown unit {shown(unit)}{right}")
    return Fraction(Decimal(number)), unit


def parse_duration(value: object) -> int:
    """Return the nanoseconds of a duration such as ``5s``, ``500ms``, ``2m`` or ``1h``."""
    number, unit = _parts(value, "a duration with its unit", "5s", _TIMES_NS)
    nanoseconds = round(number * _TIMES_NS[unit])
    if nanoseconds > MAX_DURATION_NS:
        raise problem(f"is {shown(value)}, longer than the 168h that a phase may last")
    return nanoseconds


def parse_positive_duration(value: object) -> int:
    """Return the nanoseconds of a duration of at least 1 ns."""
    nanoseconds = parse_duration(value)
    if nanoseconds == 0:
        raise problem(f"must be longer than nothing, not {shown(value)}")
    return nanoseconds


def parse_echo(value: object) -> int:
    """Return the nanoseconds of an interval of at least 10 ms, or 0 for `off`."""
    if value == OFF:
        return 0
    if not isinstance(value, str) or not value.strip()[:1].isdigit():
        raise problem(f"must be 'off' or a duration such as '500ms', not {shown(value)}")
    every_ns = parse_duration(value)
    if every_ns < _ECHO_LEAST_NS:
        raise problem(f"is {shown(value)}, which is too often: write 10ms or more, or 'off'")
    return every_ns


def format_duration(nanoseconds: int) -> str:
    """Write nanoseconds in the largest unit that keeps them whole."""
    if nanoseconds == 0:
        return "0s"
    unit = next(unit for unit, size in _TIMES_NS.items() if nanoseconds % size == 0)
    return f"{nanoseconds // _TIMES_NS[unit]}{unit}"


def parse_size(value: object) -> int:
    """Return the bytes of a size such as ``200B``, ``5KB`` (5,000 bytes), ``4KiB`` (4,096 bytes) or ``1MB``."""
    number, unit = _parts(value, "a size with its unit", "200B", _SIZES)
    size = number * _SIZES[unit]
    if size.denominator != 1:
        raise problem(f"is {shown(value)}, which is not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """Write bytes in the largest unit that keeps them whole."""
    if size == 0:
        return "0B"
    unit = next(unit for unit, factor in _SIZES.items() if size % factor == 0)
    return f"{size // _SIZES[unit]}{unit}"


def rate_parser(things: str, example: str) -> Callable[[object], float]:
    """Return a parser for rates of ``things``, such as ``100/s`` or ``100 events/s``; it returns a rate per second."""
    units = {f"/{period}": Fraction(1, seconds) for period, seconds in _PERIODS_S.items()}

    def parse(value: object) -> float:
        bare = re.sub(rf"(?<=[0-9\s]){things}\s*(?=/)", "", value) if isinstance(value, str) else value
        bare = re.sub(r"/\s+", "/", bare) if isinstance(bare, str) else bare
        number, unit = _parts(bare, f"a rate of {things}", example, units)
        rate = number * units[unit]
        if rate > MAX_RATE_PER_S:
            raise problem(f"is {shown(value)}, more than the {MAX_RATE_PER_S}/s that one run can mean")
        if float(rate) == 0:
            raise problem(f"must be above 0, not {shown(value)}")
        return float(rate)

    return parse


def format_rate(rate_per_s: float) -> str:
    """Write a rate so that it reads back as the same float."""
    return f"{rate_per_s!r}/s".replace(".0/s", "/s")


def parse_percent(value: object) -> float:
    """Return the number of a percentage: 10 for ``10%``."""
    number, _ = _parts(value, "a percentage of the rate", "100%", {"%": 1})
    if number > 100_000:
        raise problem(f"is {shown(value)}, more than the 100000% that a load may be")
    return float(number)


def parse_share(value: object) -> float:
    """Return the number of a percentage above 0 and at most 100: 30 for ``30%``."""
    number, _ = _parts(value, "a share", "30%", {"%": 1})
    if not 0 < number <= 100:
        raise problem(f"must be above 0% and at most 100%, not {shown(value)}")
    return float(number)


def parse_byte_rate(value: object) -> float:
    """Return the bytes per second of a rate such as ``20KB/s``."""
    units = {f"{unit}/s": factor for unit, factor in _SIZES.items()}
    number, unit = _parts(value, "bytes per second", "20KB/s", units)
    if float(number * units[unit]) == 0:
        raise problem(f"must be above 0, not {shown(value)}")
    return float(number * units[unit])


def format_byte_rate(bytes_per_s: float) -> str:
    """Write a rate of bytes so that it reads back as the same float."""
    return f"{bytes_per_s!r}B/s".replace(".0B", "B")


def format_percent(percent: float) -> str:
    """Write a percentage so that it reads back as the same float."""
    return f"{percent!r}%".replace(".0%", "%")


def parse_time_of_day(value: object) -> int:
    """Return the seconds after midnight of a time of day such as ``20:00`` or ``08:30:15``."""
    match = _TIME_OF_DAY.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 60 else None
    if match is None:
        # Some YAML readers take an unquoted 20:00 for the number 1200, so the example in the message has quotes.
        raise problem(f'must be a time of day in quotes such as "20:00", not {shown(value)}')
    hour, minute, second = (int(part or 0) for part in match.groups())
    return hour * 3600 + minute * 60 + second


def format_time_of_day(seconds: int) -> str:
    """Write seconds after midnight as a time of day, such as ``20:00`` or ``08:30:15``."""
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{second:02}" if second else "")


def _schema(units: str, description: str, examples: list[str]) -> WithJsonSchema:
    pattern = rf"^\s*{_NUMBER}\s*{units}\s*$"
    return WithJsonSchema(
        {"type": "string", "pattern": pattern, "description": description, "examples": examples}
    )


_DURATION_SCHEMA = _schema(
    "(?:h|m|s|ms|us|ns)", "A duration with its unit: ns, us, ms, s, m, h.", ["5s", "2m"]
)


def _rate_schema(things: str, examples: list[str]) -> WithJsonSchema:
    return _schema(rf"(?:{things}\s*)?/\s*(?:s|min|h)", f"A rate of {things} per s, min or h.", examples)


DurationNs = Annotated[
    int, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str), _DURATION_SCHEMA
]
PositiveDurationNs = Annotated[
    int,
    BeforeValidator(parse_positive_duration),
    PlainSerializer(format_duration, return_type=str),
    _DURATION_SCHEMA,
]
#: An interval in nanoseconds; 0 means `off`.
EchoNs = Annotated[
    int,
    BeforeValidator(parse_echo, json_schema_input_type=Literal["off"] | PositiveDurationNs),
    PlainSerializer(lambda ns: OFF if ns == 0 else format_duration(ns), return_type=str),
]
SizeBytes = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    _schema("(?:MB|KB|KiB|B)", "A size: B, KB (1,000), KiB (1,024), MB.", ["200B", "4KiB"]),
]
EventRate = Annotated[
    float,
    BeforeValidator(rate_parser("events", "100/s")),
    PlainSerializer(format_rate, return_type=str),
    _rate_schema("events", ["100/s", "6000/min"]),
]
ConnectRate = Annotated[
    float,
    BeforeValidator(rate_parser("clients", "250/s")),
    PlainSerializer(format_rate, return_type=str),
    _rate_schema("clients", ["250/s"]),
]
LoginRate = Annotated[
    float,
    BeforeValidator(rate_parser("logins", "20/s")),
    PlainSerializer(format_rate, return_type=str),
    _rate_schema("logins", ["20/s"]),
]
Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(format_percent, return_type=str),
    _schema("%", "A share of the group's rate in per cent.", ["10%", "100%"]),
]
TimeOfDay = Annotated[
    int,
    BeforeValidator(parse_time_of_day),
    PlainSerializer(format_time_of_day, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^\s*{_TIME_OF_DAY_PATTERN}\s*$",
            "description": "A time of day, 24 hours.",
            "examples": ["20:00"],
        }
    ),
]
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    PlainSerializer(format_percent, return_type=str),
    _schema("%", "A share in per cent, above 0% and at most 100%.", ["30%"]),
]
ChangeRate = Annotated[
    float,
    BeforeValidator(rate_parser("subscriptions", "20/s")),
    PlainSerializer(format_rate, return_type=str),
    _rate_schema("subscriptions", ["20/s"]),
]
ByteRate = Annotated[
    float,
    BeforeValidator(parse_byte_rate),
    PlainSerializer(format_byte_rate, return_type=str),
    _schema("(?:MB|KB|KiB|B)/s", "Bytes per second: B, KB (1,000), KiB (1,024), MB.", ["20KB/s"]),
]
