"""Test how credentials are read from headers or a frame's `authorization`, and how callers are identified."""

from typing import Any

import pytest

from loadgen.server.auth.base import Caller, caller_of, credentials_from


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (None, {}),
        ({"X-Api-Key": "k", "HOST": "h"}, {"x-api-key": "k", "host": "h"}),
        ({"Content-Length": 2}, {"content-length": "2"}),
        ({"a": 10**5000, "b": -1, "c": True, "d": 1.5, "e": None, "f": ["x"], "g": {}}, {}),
        ({"a": "\ud800", "b": "é"}, {"b": "é"}),
    ],
)
def test_text_and_whole_numbers_are_credentials(fields: Any, expected: dict[str, str]) -> None:
    assert credentials_from(fields) == expected


@pytest.mark.parametrize(
    ("headers", "peer", "expected"),
    [
        ({}, None, Caller()),
        ({}, "127.0.0.1", Caller(("127.0.0.1",))),
        ({"host": "h:1"}, "::1", Caller(("::1",), "h:1")),
        ({"x-forwarded-for": "203.0.113.7"}, "10.0.0.1", Caller(("203.0.113.7", "10.0.0.1"))),
        ({"x-forwarded-for": " a , ,b,"}, "c", Caller(("a", "b", "c"))),
        ({"x-forwarded-for": "a\ud800, b"}, "c", Caller(("b", "c"))),
    ],
)
def test_a_caller_has_the_addresses_of_the_proxies_and_its_own(
    headers: dict[str, str], peer: str | None, expected: Caller
) -> None:
    assert caller_of(headers, peer) == expected
