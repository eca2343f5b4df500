"""Test the logins of a worker's clients: the login of each client, refusals, and the secrets that it gets."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.protocol.appsync.auth import ApiKey, decode_header_subprotocol
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.service import MqttService
from loadgen.protocol_file import protocol_at
from loadgen.resolve import ClientPlan, Clients, ResolvedRun
from loadgen.resolve.resolver import run_of
from loadgen.resolve.rows import ClientRows, request_columns
from loadgen.resolve.run import encoded
from loadgen.run.group_logins import described, name_of
from loadgen.run.master_messages import Grant
from loadgen.run.rows_transfer import pieces
from loadgen.run.shares import shares
from loadgen.run.worker.logins import OwnLogins
from loadgen.users.worker import Progress
from tests.protocol.mqtt.sessions import packets

HOST = "127.0.0.1:9"
PEOPLE = "id,token,name,password\n" + "".join(f"u{n},canary-{n},n{n},word-{n}\n" for n in range(40))
SCENARIO = """version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
clients:
  users:
    count: 40
    subscribe: ["/users/{people.id}", {channel: /news/all, login: {mode: api-key, key_env: NEWS_KEY}}]
    login: {mode: lambda, token: "{people.token}"}
  backend:
    count: 2
    login: {publish: {mode: lambda, token_env: BACKEND}}
    publish: {channel: "/users/{anyone.id}", rate: 10/s}
phases: {measure: 1s}
"""


def session_of(service: MqttService) -> Any:
    return service.session(cast(Any, None))


class Worker:
    """One worker's logins, and the notes and progress that they report."""

    def __init__(
        self,
        text: str,
        service: Any = None,
        allowed: Allowed | None = None,
        target: str = "mqtt://127.0.0.1:9",
    ) -> None:
        Path("x.yaml").write_text(text)
        self.run, self.tables = run_of("x.yaml", (), None if service is None else target)
        self.rows = ClientRows(self.run, self.tables)
        self.clients = Clients(self.run, self.tables, self.rows)
        self.progress, self.told = Progress(), list[tuple[str, bool]]()
        self.notes: list[str] = []
        self.service: Any = service or AppSyncEvents(
            Endpoints.from_url(f"http://{HOST}/event"), ApiKey("the-target's")
        )
        self.logins = OwnLogins(
            self.run,
            self.service,
            HOST,
            allowed=Allowed.of(["NEWS_KEY", "BACKEND"]) if allowed is None else allowed,
            whose="the scenario",
            workers=1,
            progress=self.progress,
            report_error=lambda reason, fatal: self.told.append((reason, fatal)),
            on_note=self.notes.append,
        )

    def client(self, number: int) -> ClientPlan:
        return self.clients.client(number)

    def service_of(self, number: int) -> Any:
        client = self.client(number)
        assert self.logins.obtain(client) is None
        return self.logins.service(client)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEWS_KEY", "news-key")
    monkeypatch.setenv("BACKEND", "backend-token")
    Path("people.csv").write_text(PEOPLE)


def authorization_of(frame: bytes) -> dict[str, str]:
    found: dict[str, str] = msgspec.json.decode(frame)["authorization"]
    return found


def test_each_operation_of_each_client_uses_its_own_credential() -> None:
    worker = Worker(SCENARIO)
    for number in (0, 7):
        service = worker.service_of(number)
        offered = service.handshake().subprotocols[1]
        assert decode_header_subprotocol(offered)["Authorization"] == f"canary-{number}"
        session = service.session(SimpleNamespace(on_event=None))
        own = authorization_of(session.subscribe("s1", f"/users/u{number}"))
        assert own["Authorization"] == f"canary-{number}"
        assert authorization_of(session.subscribe("s2", "/news/all"))["x-api-key"] == "news-key"
        assert service.connect_url is worker.service.connect_url
    backend = worker.service_of(40)
    assert backend.http_publish("/users/u1", ["1"]).headers["Authorization"] == "backend-token"
    assert worker.service_of(41) is backend, "what clients have in common is made once"
    # Probes and echoes use the target's own login, although each client has its own.
    assert worker.service.http_publish("/users/u1", ["1"]).headers["x-api-key"] == "the-target's"


def test_a_client_hides_its_own_secret_in_what_the_service_echoes() -> None:
    worker = Worker(SCENARIO)
    first, second = worker.service_of(1), worker.service_of(2)
    first.handshake()
    second.handshake()
    assert "canary-1" not in first.shown(b"you are canary-1")
    assert "canary-1" not in repr(worker.client(1))


def test_a_client_without_a_login_of_its_own_has_the_targets() -> None:
    text = SCENARIO.replace("    login: {publish: {mode: lambda, token_env: BACKEND}}\n", "")
    worker = Worker(text)
    assert worker.service_of(40) is worker.service
    assert not worker.logins.own(worker.client(40))
    assert worker.logins.own(worker.client(3))


def test_refused_clients_are_told_by_row_and_the_run_goes_on_without_a_few() -> None:
    worker = Worker(SCENARIO)
    worker.logins.refused(worker.client(3), "the service refused the login: no")
    worker.logins.refused(worker.client(4), "subscription to /users/u4 refused: no", 8)
    worker.logins.refused(worker.client(4), "subscription to /users/u4 refused: no", 8)
    assert worker.notes[0] == "client 3 of users (people.csv:5): the service refused the login: no"
    assert (worker.progress.shut_connections, worker.progress.shut_subscriptions) == (1, 3)
    assert not any(fatal for _, fatal in worker.told)
    worker.logins.refused(worker.client(5), "no")
    assert [reason for reason, fatal in worker.told if fatal] == [
        "3 clients, the latest being client 5 of users (people.csv:7): no"
    ]


def test_a_refused_publish_is_told_once_for_each_client_with_its_own_login() -> None:
    worker = Worker(SCENARIO.replace("token_env: BACKEND", 'token: "{people.token}"'))
    for number in (40, 40, 41):
        worker.logins.publish_refused(worker.client(number), "HTTP 401")
    assert worker.notes == [
        "client 0 of backend (people.csv:2): a publish was refused: HTTP 401",
        "client 1 of backend (people.csv:3): a publish was refused: HTTP 401",
    ]


def test_a_login_that_cannot_be_fetched_shuts_its_client_out() -> None:
    text = SCENARIO.replace('token: "{people.token}"', 'token_command: [sh, -c, "exit 3", "{people.id}"]')
    worker = Worker(
        text.replace(", secret: [token]", ""), allowed=Allowed.of(["NEWS_KEY", "BACKEND"], commands=True)
    )
    reason = worker.logins.obtain(worker.client(2))
    assert reason == "there is no login: the token command 'sh' ended with exit code 3"
    assert worker.notes == [f"client 2 of users (people.csv:4): {reason}"]
    assert (worker.progress.shut_connections, worker.progress.shut_subscriptions) == (1, 2)
    worker.logins.stop()


def test_a_worker_uses_no_variable_that_its_own_command_line_does_not_allow() -> None:
    with pytest.raises(CredentialError, match="--allow-env NEWS_KEY"):
        Worker(SCENARIO, allowed=NOTHING)


def test_a_broker_is_given_user_and_password_of_each_client() -> None:
    text = """version: 1
data: {people: {csv: people.csv}}
clients:
  users:
    count: 40
    subscribe: users/{people.id}
    publish: {channel: "users/{people.id}", rate: 10/s}
    login: {mode: password, username: "{people.name}", password: "{people.password}"}
phases: {measure: 1s}
"""
    broker = MqttService(BrokerUrl.from_url("mqtt://127.0.0.1:9"), UserPassword("all", "of them"))
    worker = Worker(text, broker)
    for number in (0, 7):
        service = worker.service_of(number)
        (connect,) = session_of(service).opening()
        assert f"word-{number}".encode() in connect
        assert f"word-{number}" not in service.shown(f"you are word-{number}".encode())
    (connect,) = session_of(broker).opening()
    assert b"of them" in connect
    openings = [
        session_of(service).opening() for service in (worker.service_of(0), worker.service_of(1), broker)
    ]
    ids = {packets(connect)[0].client_id for (connect,) in openings}
    assert len(ids) == 3, "a broker ends the connection of a client whose id another one has"


def told_to(worker: int, run: ResolvedRun, rows: ClientRows, number_of: Callable[[int], list[int]]) -> bytes:
    """Return what the master sends to one of two workers: the run, and the data rows of this worker's clients."""
    numbers = number_of(worker)
    grant = Grant(
        request=1, granted={"subscriber": numbers}, values=rows.of(numbers), places=rows.places(numbers)
    )
    return encoded(run.for_worker()) + msgspec.msgpack.encode(grant)


def test_a_worker_is_told_the_secrets_of_its_own_clients_only() -> None:
    worker = Worker(SCENARIO)
    dealt = shares(worker.run, [1, 1])  # type: ignore[list-item]
    numbers = [[number for free in share.free.values() for number in free] for share in dealt]
    drawn = b"".join(msgspec.msgpack.encode(piece) for piece in pieces(worker.run, worker.tables))
    for which in (0, 1):
        told = told_to(which, worker.run, worker.rows, numbers.__getitem__) + drawn
        for number in range(40):
            own = number in numbers[which]
            assert _holds(told, number) is own
    # A table from which publish requests draw is sent whole to all workers, so it must have no column that a login
    # uses.
    assert request_columns(worker.run) == {"anyone": ["id"]}
    assert b"canary" not in drawn
    assert b"canary" not in encoded(worker.run)


def _holds(told: bytes, number: int) -> bool:
    """Return whether a message contains a client's token, not just a longer one that begins with it."""
    token = f"canary-{number}".encode()
    return any(not told[at + len(token) : at + len(token) + 1].isdigit() for at in _places(told, token))


def _places(told: bytes, token: bytes) -> list[int]:
    found, at = [], told.find(token)
    while at >= 0:
        found.append(at)
        at = told.find(token, at + 1)
    return found


def test_the_manifest_tells_the_source_of_each_login() -> None:
    worker = Worker(SCENARIO)
    own = "lambda from column people.token of people.csv"
    assert described(worker.run, by_operation=True) == {
        "login of users": f"connect by {own}; subscribe by {own}, api-key from $NEWS_KEY",
        "login of backend": "lambda from $BACKEND",
    }
    assert name_of(worker.client(3)) == "client 3 of users (people.csv:5)"
    assert name_of(worker.client(40)) == "client 0 of backend"


def test_the_ramp_waits_for_logins_at_a_bounded_rate() -> None:
    assert Worker(SCENARIO).run.login_time_s == 0
    text = SCENARIO.replace('token: "{people.token}"', 'token_command: [get, "{people.id}"], rate: 4/s')
    worker = Worker(text, allowed=Allowed.of(["NEWS_KEY", "BACKEND"], commands=True))
    assert worker.run.login_time_s == 10
    worker.logins.stop()


#: A protocol file whose login message holds the password unquoted, so a password with a space cannot be sent.
PLAIN = """
version: 1
opening:
  - send: "AUTH {login.username} {login.password}"
  - expect: OK
subscribe: {send: "SUB {channel} {id}"}
publish: {websocket: {send: "PUB {channel} {event}"}}
deliver: "MSG {id} {event}"
"""


USERS = """version: 1
data: {people: {csv: people.csv, secret: [password]}}
clients:
  users:
    count: 40
    subscribe: "/users/{people.id}"
    login: {mode: password, username: "{people.name}", password: "{people.password}"}
  backend: {count: 1, publish: {channel: /users/u1, rate: 10/s}}
phases: {measure: 1s}
"""


def test_a_password_that_cannot_stand_in_a_message_is_named_by_its_row_and_the_others_go_on() -> None:
    Path("plain.yaml").write_text(PLAIN)
    Path("people.csv").write_text(PEOPLE.replace("word-3", "canary word"))
    target = "plain.yaml+ws://127.0.0.1:9"
    protocol = protocol_at(target)
    service = protocol.service(protocol.endpoints(target), None)
    worker = Worker(USERS, service, target=target)
    told = (
        "opening.0.send of the protocol file: the value of {login.password} cannot stand there: it is text with a"
        " space, outside quotes"
    )
    client = worker.client(3)
    assert worker.logins.obtain(client) == f"there is no login: {told}"
    assert worker.notes == [f"client 3 of users (people.csv:5): there is no login: {told}"]
    assert "canary" not in str(worker.told)
    assert worker.progress.shut_connections == 1
    assert [*session_of(worker.service_of(4)).opening()] == [b"AUTH n4 word-4"]
