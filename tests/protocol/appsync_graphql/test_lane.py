"""Test that the C fast path records the same from `data` messages as the Python session does.

tests/native/lanes_fuzz.py compares the two with more, random messages.
"""

import json
from itertools import accumulate
from typing import Any

import pytest

from loadgen import native
from loadgen.measure.stamp import encode_event
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import native_place
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.service import AppSyncGraphql
from loadgen.server.frames import text_frame
from tests.native.fuzz import rows_in
from tests.protocol.test_order import Handler

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

URL = "http://127.0.0.1:1/graphql"


def taken(messages: list[dict[str, Any]], url: str = URL) -> tuple[list[list[int]], int]:
    """Return the rows that the C fast path records from messages, and the number of messages that it processes."""
    handler: Any = Handler()
    session = AppSyncGraphql(GraphqlUrl.from_url(url), ApiKey("k")).session(handler)
    session.subscribe("s7", "/a")
    rows = native.Rows(9, 1000)
    place = native_place(Stamps())
    assert place is not None
    lane = session.fast_path(rows, {"s7": 7}, place)
    assert lane is not None
    frames = [text_frame(json.dumps(each).encode()) for each in messages]
    used = lane.take_frames(b"".join(frames), 1, 2)
    sizes = list(accumulate(map(len, frames), initial=0))
    return rows_in(rows), sizes.index(used)


def data(event: str, name: str = "s7", **more: Any) -> dict[str, Any]:
    fields = {"name": "a", "data": event}
    return {"id": name, "type": "data", "payload": {"data": {"subscribe": fields}, **more}}


EVENT = encode_event(11, 22, 33, 44, 55, 100)


def test_deliveries_become_rows_with_the_numbers_of_the_subscription_and_the_stamp() -> None:
    rows, used = taken([data(EVENT), data(EVENT, errors=None)])
    assert used == 2
    assert len(rows) == 2
    for row in rows:
        assert {7, 11, 22, 33, 44, 55, 1, 2} <= set(row)


def test_other_names_of_the_operations_are_found() -> None:
    message = {"payload": {"data": {"posted": {"x": [1], "body": EVENT}}}, "type": "data", "id": "s7"}
    assert taken([message], f"{URL}?subscription=posted&data=body")[1] == 1
    assert taken([message])[1] == 0


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ka"},
        {"id": "s7", "type": "start_ack"},
        data(EVENT, name="s8"),
        data("{}"),
        {"id": "s7", "type": "data", "payload": {"data": {"subscribe": None}, "errors": [{}]}},
    ],
)
def test_everything_else_is_left_to_the_session(message: dict[str, Any]) -> None:
    assert taken([message, data(EVENT)]) == ([], 0)


def test_events_with_a_checksum_are_left_to_the_session() -> None:
    handler: Any = Handler()
    session = AppSyncGraphql(GraphqlUrl.from_url(URL), ApiKey("k")).session(handler)
    place = native_place(Stamps(integrity=True))
    assert place is not None
    assert session.fast_path(native.Rows(9, 10), {}, place) is None
