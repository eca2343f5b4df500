"""Test that units are read exactly and written back as the same value."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from loadgen.config import units

read_rate = units.rate_parser("events", "100/s")


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_duration, "500ms", 500_000_000),
        (units.parse_duration, "0s", 0),
        (units.parse_duration, " 2 m ", 120_000_000_000),
        (units.parse_duration, "1h", 3_600_000_000_000),
        (units.parse_duration, "0.1s", 100_000_000),
        (units.parse_duration, "1.000000001s", 1_000_000_001),
        (units.parse_duration, "7us", 7_000),
        (read_rate, "100/s", 100.0),
        (read_rate, "100 events/s", 100.0),
        (read_rate, "100events / s", 100.0),
        (read_rate, "6000/min", 100.0),
        (read_rate, "1/h", 1 / 3600),
        (units.parse_size, "200B", 200),
        (units.parse_size, "5KB", 5_000),
        (units.parse_size, "4KiB", 4_096),
        (units.parse_size, "1.5 KiB", 1_536),
        (units.parse_size, "1MB", 1_000_000),
        (units.parse_percent, "12.5%", 12.5),
    ],
)
def test_quantities_are_read(parse: Callable[[object], float], text: str, value: float) -> None:
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (units.parse_duration, "1e999s"),
        (units.parse_duration, "1e99999999999s"),
        (units.parse_duration, "٣s"),
        (units.parse_duration, "s"),
        (units.parse_duration, "1 s 2"),
        (units.parse_duration, ["1s"]),
        (units.parse_duration, float("nan")),
        (read_rate, "1 clients/s"),
        (read_rate, "1e-999/s"),
        (read_rate, "1e999/s"),
        (read_rate, "events/s"),
        (units.parse_percent, "1e999%"),
        (units.parse_percent, "-1%"),
    ],
)
def test_what_is_no_quantity_is_refused(parse: Callable[[object], float], value: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse(value)


@given(st.integers(0, units.MAX_DURATION_NS))
def test_durations_are_written_exactly(nanoseconds: int) -> None:
    assert units.parse_duration(units.format_duration(nanoseconds)) == nanoseconds


@given(st.integers(0, 10**9))
def test_sizes_are_written_exactly(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@given(st.floats(1e-300, units.MAX_RATE_PER_S))
def test_rates_are_written_exactly(rate: float) -> None:
    assert read_rate(units.format_rate(rate)) == rate


@given(st.floats(0, 100_000))
def test_percentages_are_written_exactly(percent: float) -> None:
    assert units.parse_percent(units.format_percent(percent)) == percent
