"""Test publishes whose requests and answers C code processes: their record equals that of the Python path."""

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen import native
from loadgen.measure.failures import Failures
from loadgen.measure.publishes import Events
from loadgen.measure.rows import EventRow
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.resolve import ClientPlan
from loadgen.server import frames
from loadgen.users.code import UserCode
from loadgen.users.connection import ClientConnection
from loadgen.users.open_requests import Cause
from loadgen.users.requests import PublishRequests
from loadgen.users.senders import ConnectionSender
from loadgen.users.worker import NoLogins, Progress, WorkerRun
from tests.isolation.test_connection import Rows, Socket
from tests.native.test_answers import unmasked
from tests.users.test_publishing import Quiet

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

URL = "https://h.appsync-api.eu-west-1.amazonaws.com/event"
ARRIVAL_NS = 1_790_000_000_000_000_001


class Line(Socket):
    """A connection whose frames the test reads, and on which the test sends the service's messages."""

    remote_address: Any = "127.0.0.1:9"

    def __init__(self, on_closed: Callable[[int | None, str], None], receive: Any, direct: bool) -> None:
        super().__init__(on_closed)
        self._receive, self._direct = receive, direct
        self.frames: list[bytes] = []

    def send(self, message: bytes) -> None:
        super().send(message)
        if b"connection_init" in message:
            self.say(b'{"type":"connection_ack","connectionTimeoutMs":300000}')

    def way_to_send(self) -> int | None:
        return -1 if self.is_open and self._direct else None

    def send_frame(self, frame: bytes) -> None:
        self.sent.append(unmasked(frame))
        self.frames.append(frame)

    def watch_silence(self, *_: object) -> None:
        pass

    def say(self, text: bytes) -> None:
        if self.fast_path is not None:
            frame = frames.text_frame(text)
            if cast(native.FastPath, self.fast_path).take_frames(frame, ARRIVAL_NS, ARRIVAL_NS + 9):
                return
        self._receive(text, ARRIVAL_NS, ARRIVAL_NS + 9)


class Client:
    """A client that publishes over its connection, with direct publishes or without."""

    def __init__(self, direct: bool, credential: Any = None) -> None:
        self.direct = direct
        self.rows = native.PublishRows()
        self.refused: list[str] = []
        self.line: Line
        self.progress, self.failures = Progress(), Failures()
        recorder: Any = Rows()
        recorder.token, recorder.publish = 7, self.rows.add
        recorder.native_publishes, recorder.native_rows = self.rows, native.Rows(9, 64)
        self.recorder = recorder
        service = AppSyncEvents(Endpoints.from_url(URL), credential or ApiKey("k"))
        run: Any = SimpleNamespace(
            recorder=recorder,
            stamping=Stamping(),
            progress=self.progress,
            failures=self.failures,
            service=service,
            logins=NoLogins(service),
            address=None,
            stopping=False,
            most_event_bytes=None,
            report_error=lambda reason, fatal: self.refused.append(reason),
        )
        plan = SimpleNamespace(batch=3, payload_bytes=100, padded=True, maker=lambda: None)
        client = ClientPlan(3, "g", 0, (), cast(Any, plan), 0)
        self.connection = ClientConnection(run, client, connect=self._connect)
        self.connection.open(1)
        code = UserCode(Quiet(), Quiet, cast(WorkerRun, run))
        self.settled = 0
        self.requests = PublishRequests(
            run, client, ConnectionSender(self.connection), code, self._on_settled
        )

    def _on_settled(self) -> None:
        self.settled += 1

    def _connect(self, address: Any, handshake: Any, receive: Any, on_closed: Any, *_: Any) -> Any:
        self.line = Line(on_closed, receive, self.direct)
        return self.line

    def publish(self, number: int, cause: Cause | None = None) -> None:
        self.requests.publish(number, range(3 * number, 3 * number + 3), "/default/a", 100, 110, cause)

    def outcome(self) -> Any:
        self.progress.accepted += self.rows.take_accepted()
        events = [_without_times(row) for row in Events(*self.rows.take())]
        return (
            sorted(events, key=repr),
            self.progress,
            Counter(self.recorder.deviations),
            self.recorder.undecodable.count,
            self.refused,
        )


def _without_times(row: EventRow) -> EventRow:
    return row._replace(
        sent_ns=None if row.sent_ns is None else 1,
        connection_wait_ns=None if row.connection_wait_ns is None else 1,
    )


def both(play: Callable[[Client], object]) -> Any:
    """Call ``play`` with a client that publishes directly and with one that does not; return the equal outcome."""
    outcomes = []
    for direct in (True, False):
        client = Client(direct)
        play(client)
        assert bool(client.line.frames) == direct
        assert client.failures.to_list() == []
        outcomes.append((client.outcome(), [_plain(message) for message in client.line.sent]))
    assert outcomes[0] == outcomes[1]
    return outcomes[0][0]


def _plain(message: bytes) -> Any:
    """Return a message without the times of its events."""
    content = json.loads(message)
    events = [json.loads(event) for event in content.get("events", ())]
    return content | {"events": [event | {"_lg": event["_lg"][:4]} for event in events]}


def success(number: int, **more: Any) -> bytes:
    return json.dumps({"type": "publish_success", "id": f"p{number}", **more}).encode()


SAID: list[Callable[[int], bytes]] = [
    success,
    lambda number: success(number, failed=[], successful=[{"identifier": "a", "index": k} for k in range(3)]),
    lambda number: success(number, failed=[{"index": 1, "code": 400, "message": "no"}]),
    lambda number: success(number, failed=[{"code": "x"}], successful=[]),
    lambda number: success(number, successful=5),
    lambda number: json.dumps(
        {"type": "publish_error", "id": f"p{number}", "errors": [{"errorType": "T", "message": "m"}]}
    ).encode(),
    lambda number: b'{"type":"ka"}',
    lambda number: b'{"type":"publish_success","id":"p%d"' % number,
    lambda number: b'{"type":"publish_success","id":"\\u0070%d"}' % number,
]


@pytest.mark.parametrize("seed", range(12))
def test_any_run_of_answers_makes_the_same_record(seed: int) -> None:
    def play(client: Client) -> None:
        random = Random(seed)
        made = 0
        for _ in range(200):
            if made < 60 and random.random() < 0.4:
                client.publish(made, Cause(1, 2, made) if random.random() < 0.2 else None)
                made += 1
            else:
                # Some answers are repeated, and some are to publishes that were never made.
                client.line.say(random.choice(SAID)(random.randrange(made + 3)))
        if seed % 3 == 0:
            client.requests.give_up()
        elif seed % 3 == 1:
            client.line.end(1006, "gone")
            client.publish(made)
            client.requests.give_up()
        else:
            client.requests.give_up()
            for number in range(made):
                client.line.say(success(number))

    rows, progress, _, _, _ = both(play)
    assert progress.accepted > 0
    assert {row.status for row in rows} >= {"accepted", "rejected"}
    assert len(rows) == len({row.sequence for row in rows}), "one row for each event"


def test_a_reconnect_goes_on_directly() -> None:
    def play(client: Client) -> None:
        client.publish(0)
        client.line.end(1006, "gone")
        client.publish(1)
        client.connection.open(1)
        client.publish(2)
        client.line.say(success(2))
        client.line.say(success(0))

    rows, _, deviations, _, _ = both(play)
    assert Counter(row.status for row in rows) == {"error": 6, "accepted": 3}
    assert sum(deviations.values()) == 1


def test_who_waits_for_answers_is_told_of_each() -> None:
    client = Client(direct=True)
    client.requests.awaited = True
    client.publish(0)
    assert (client.line.frames, client.requests.unanswered) == ([], 1)
    client.line.say(success(0))
    assert (client.settled, client.requests.unanswered) == (1, 0)


def test_a_token_that_is_renewed_is_in_the_next_message_and_a_signature_goes_the_usual_way() -> None:
    tokens = iter(["connect", "one", "one", "two"])
    client = Client(direct=True, credential=BearerToken(lambda: next(tokens)))
    for number in range(3):
        client.publish(number)
    sent = [json.loads(message)["authorization"]["Authorization"] for message in client.line.sent[1:]]
    assert sent == ["one", "one", "two"]
    assert len(client.line.frames) == 3

    class Signing:
        def connect_headers(self, *_: object) -> dict[str, str]:
            return {}

        def frame_authorization(self, host: str, body: bytes) -> dict[str, str]:
            return {"signature": str(len(body))}

    client = Client(direct=True, credential=Signing())
    client.publish(0)
    assert client.line.frames == []
    assert int(json.loads(client.line.sent[-1])["authorization"]["signature"]) > 300


def test_a_frame_that_cannot_be_handed_over_is_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Line, frame: bytes) -> None:
        raise OSError("no memory")

    client = Client(direct=True)
    monkeypatch.setattr(Line, "send_frame", fail)
    client.publish(0)
    client.requests.give_up()
    rows = client.outcome()[0]
    assert [(row.status, row.error) for row in rows] == [("unmade", "the harness failed at it")] * 3
    assert len(client.failures) == 1
