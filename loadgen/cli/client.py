"""`loadgen publish`, `subscribe` and `probe`: use a target by hand."""

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.console import screen
from loadgen.cli.app import AllowEnvOption, NoProxyOption, ProfileOption, RegionOption, app, fail
from loadgen.cli.parameters import parameter
from loadgen.console import say
from loadgen.exits import ExitCode

if TYPE_CHECKING:
    from loadgen.client.further_checks import WrongLogin
    from loadgen.protocol.base import Service, TargetProtocol

DEFAULT_TARGET = "http://127.0.0.1:8700/event"
_KEY_VARIABLE = "LOADGEN_API_KEY"

TargetOption = Annotated[
    str,
    typer.Option(
        help="URL of an Event API, aws:STACK for a stack of `loadgen aws up`, or a URL of a protocol file"
        " (docs/websocket.md).",
        metavar="URL",
        envvar="LOADGEN_TARGET",
    ),
]
AuthOption = Annotated[str, parameter("auth", envvar="LOADGEN_AUTH", show_default=f"api-key:{_KEY_VARIABLE}")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def _service(
    target: str,
    auth: str,
    profile: str | None,
    region: str | None,
    no_proxy: bool,
    allow_env: list[str] | None,
) -> "tuple[TargetProtocol, Service]":
    from loadgen.aws.access import Access
    from loadgen.aws.target import PREFIX
    from loadgen.credentials.allowed import Allowed
    from loadgen.credentials.errors import CredentialError
    from loadgen.exits import RunError
    from loadgen.run.target import Target, login_of
    from loadgen.scenario import ScenarioError
    from loadgen.targets import APPSYNC_EVENTS, protocol_of
    from loadgen.transport import proxy

    proxy.switch_off(no_proxy)
    by_default = auth == f"api-key:{_KEY_VARIABLE}"
    # For `aws:STACK` without --auth, get the key from AppSync: the environment's key may be of another API.
    asked = target.startswith(PREFIX) and by_default
    try:
        protocol = protocol_of(target)
        needed = protocol is APPSYNC_EVENTS and by_default and not asked
        if needed and not os.environ.get(_KEY_VARIABLE):
            # If the URL is invalid too, report that instead of the missing key.
            Target(target).endpoints()
            fail(
                f"the environment variable {_KEY_VARIABLE} is not set: export it with the API key (`loadgen serve`"
                " prints it), or say with --auth how to log in"
            )
        login = None if asked or (by_default and protocol.anonymous) else login_of(None, auth)
        named = Target.of(target, login, Access(profile, region), allowed=Allowed.of(allow_env or ()))
        service, routed = named.service(), named.proxies()
    except (CredentialError, ScenarioError) as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), error.code)
    if service.connect_url.partition("://")[0] not in ("ws", "wss", "http", "https"):
        fail(
            f"this command speaks over WebSocket and HTTP only, and the target is one of {protocol.title} over another"
            " transport; `loadgen run` does"
        )
    if routed:
        say(f"note: {proxy.sentence(routed)}")
    return protocol, service


def _url_of(target: str, service: "Service") -> str:
    """Return the target's URL; for a target `aws:STACK`, the URL of the API in that stack."""
    from loadgen.aws.target import PREFIX

    return (service.http_url or target) if target.startswith(PREFIX) else target


def _wrong_login(protocol: "TargetProtocol", url: str, auth: str) -> "WrongLogin":
    """Return the check that the target refuses a wrong login of the same mode as ``auth``."""
    from loadgen.client.further_checks import WrongLogin
    from loadgen.run.target import login_of

    if protocol.variables:
        return WrongLogin(None, "which part of the protocol file is the login is not known")
    login = None if auth == f"api-key:{_KEY_VARIABLE}" and protocol.anonymous else login_of(None, auth)

    def make(made_up: object) -> "Service":
        return protocol.service(protocol.endpoints(url), made_up)

    return WrongLogin.of(make, None) if login is None else WrongLogin.of(make, login.mode, login.region)


def _check_channel(protocol: "TargetProtocol", channel: str, *, publish: bool = False) -> None:
    """Exit with an error if the protocol forbids the channel. For AppSync Events, leave this check to the service."""
    from loadgen.targets import APPSYNC_EVENTS

    if protocol is APPSYNC_EVENTS:
        return
    try:
        (protocol.rules.validate_publish if publish else protocol.rules.demand_subscribable)(channel)
    except ValueError as error:
        fail(str(error))


def _clean(text: str) -> str:
    """Escape characters of foreign text that a terminal would interpret."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@app.command()
def publish(
    channel: Annotated[str, typer.Argument(help="Channel, such as /default/greetings.")],
    events: Annotated[
        list[str], typer.Argument(help="1 to 5 events, as JSON or as text to send as a JSON string.")
    ],
    target: TargetOption = DEFAULT_TARGET,
    auth: AuthOption = f"api-key:{_KEY_VARIABLE}",
    profile: ProfileOption = None,
    region: RegionOption = None,
    no_proxy: NoProxyOption = False,
    allow_env: AllowEnvOption = None,
    websocket: Annotated[bool, typer.Option("--websocket", help="Publish over WebSocket, not HTTP.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Subscribe first, and print each event's latency.")
    ] = False,
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Add the send time, so that `loadgen subscribe` shows latency.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a batch of events.

    Exit codes: 0 every event accepted (and arrived, with --wait), 1 an event was not, 2 usage, 4 target unreachable or
    refused.
    """
    from loadgen.client.publish import Publication, PublishError, as_events, require_objects
    from loadgen.resolve.transport import over_http

    protocol, service = _service(target, auth, profile, region, no_proxy, allow_env)
    _check_channel(protocol, channel, publish=True)
    http = over_http("websocket" if websocket else "http", protocol.rules)
    if len(events) > 1 and not protocol.rules.batches:
        fail(f"a publish to {protocol.title} has one event: give one at a time")
    texts = as_events(events)
    try:
        if stamp:
            require_objects(texts)
    except PublishError as error:
        fail(str(error))
    publication = Publication(
        service, channel, texts, "http" if http else "websocket", wait=wait, stamp=stamp
    )
    try:
        answer, elapsed_s = publication.send()
    except PublishError as error:
        fail(_clean(str(error)), ExitCode.TARGET)
    if answer.error is not None:
        fail(f"the publish to {_clean(channel)} was refused: {_clean(answer.error)}", ExitCode.TARGET)
    arrivals = publication.arrivals() if wait else [None] * len(texts)
    console = Console(highlight=False, soft_wrap=True)
    good = True
    for index, (text, arrival_ns) in enumerate(zip(publication.events, arrivals, strict=True)):
        rejected = answer.rejected.get(index)
        latency_ms = None if arrival_ns is None else (arrival_ns - publication.sent_ns) / 1e6
        good = good and rejected is None and not (wait and arrival_ns is None)
        if as_json:
            # `accepted` is null in the JSON if the service does not answer publishes.
            known = (rejected is None) if answer.acknowledged else None
            row = {"index": index, "accepted": known, "error": rejected, "latency_ms": latency_ms}
            print(json.dumps(row))
            continue
        accepted = (
            Text("accepted", style="green") if answer.acknowledged else Text("sent (no answer is known)")
        )
        said = accepted if rejected is None else Text(_clean(rejected), style="red")
        line = Text.assemble(f"{index + 1}  ", said)
        if wait and rejected is None:
            line.append("  did not arrive" if latency_ms is None else f"  arrived after {latency_ms:.3f} ms")
        console.print(line.append(f"  {_clean(text)[:100]}", style="dim"))
    if not as_json:
        console.print(f"[dim]answered in {elapsed_s * 1000:.1f} ms[/dim]")
    _tell(protocol, publication.deviations)
    raise typer.Exit(0 if good else 1)


@app.command()
def subscribe(
    channel: Annotated[str, typer.Argument(help="Channel, or a pattern such as '/default/*'.")],
    target: TargetOption = DEFAULT_TARGET,
    auth: AuthOption = f"api-key:{_KEY_VARIABLE}",
    profile: ProfileOption = None,
    region: RegionOption = None,
    no_proxy: NoProxyOption = False,
    allow_env: AllowEnvOption = None,
    count: Annotated[int | None, typer.Option(help="End after this many events.", min=1)] = None,
    for_: Annotated[
        float | None, typer.Option("--for", help="End after this many seconds.", metavar="SECONDS", min=0)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print events as they arrive, with UTC time and latency.

    An event has a latency if it carries the time it was sent, as with `loadgen publish --stamp`.

    Exit codes: 0 ended by --count or --for, 2 usage, 4 target unreachable, refused or gone, 130 interrupted.
    """
    from loadgen.client.subscribe import Listener, SubscribeError, latency_ns

    protocol, service = _service(target, auth, profile, region, no_proxy, allow_env)
    _check_channel(protocol, channel)
    console = Console(highlight=False, soft_wrap=True)
    seen = 0
    try:
        with Listener(service, channel) as listener:
            print(f"loadgen: subscribed to {_clean(channel)}", file=sys.stderr, flush=True)
            for delivery in listener.events(for_):
                latency = latency_ns(delivery)
                if as_json:
                    row = {"arrival_ns": delivery.arrival_ns, "latency_ns": latency, "event": delivery.event}
                    print(json.dumps(row), flush=True)
                else:
                    at = datetime.fromtimestamp(delivery.arrival_ns / 1e9, UTC)
                    shown = "        –" if latency is None else f"{latency / 1e6:9.3f} ms"
                    console.print(
                        Text.assemble(
                            (f"{at:%H:%M:%S.%f}"[:-3] + "Z", "dim"),
                            f"  {shown:>12}  ",
                            _clean(delivery.event),
                        )
                    )
                seen += 1
                if count is not None and seen >= count:
                    break
            _tell(protocol, listener.deviations)
    except SubscribeError as error:
        fail(_clean(str(error)), ExitCode.TARGET)


@app.command()
def probe(
    target: TargetOption = DEFAULT_TARGET,
    auth: AuthOption = f"api-key:{_KEY_VARIABLE}",
    profile: ProfileOption = None,
    region: RegionOption = None,
    no_proxy: NoProxyOption = False,
    allow_env: AllowEnvOption = None,
    channel: Annotated[str, typer.Option(help="Channel to probe.")] = "/default/loadgen-probe",
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Print what is sent and received too, without the login's secrets."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a target step by step, from DNS to delivery.

    The steps are DNS, TCP, TLS, WebSocket, login, subscribe, publish, delivery, a wildcard over several levels, and a
    made-up login that must be refused. docs/troubleshooting.md says what to do if a step fails.

    Exit codes: 0 no step failed, 2 usage, 4 a step failed.
    """
    from loadgen.client.frames import Frame
    from loadgen.client.probe import APPSYNC_ADVICE, FILE_ADVICE, GRAPHQL_ADVICE, Probe
    from loadgen.client.steps import Step
    from loadgen.targets import APPSYNC_EVENTS

    protocol, service = _service(target, auth, profile, region, no_proxy, allow_env)
    _check_channel(protocol, channel, publish=True)
    advice = {"appsync-events": APPSYNC_ADVICE, "appsync-graphql": GRAPHQL_ADVICE}
    checked = Probe(
        service,
        channel,
        over_http=protocol.rules.publishes_over_http,
        over_connection=protocol.rules.publishes_over_connections,
        advice=advice.get(protocol.name, FILE_ADVICE),
        with_frames=frames,
        rules=protocol.rules,
        wrong_login=_wrong_login(protocol, _url_of(target, service), auth),
    )
    steps: list[Step] = []
    seen: list[Frame] = []
    for step in checked.run():
        steps.append(step)
        new = [] if checked.frames is None else checked.frames.take()
        seen += new
        if as_json:
            for frame in new:
                print(json.dumps({"frame": frame.to_dict()}), flush=True)
            print(json.dumps(step.to_dict()), flush=True)
    if not as_json:
        _show_frames(seen, checked.frames.left_out if checked.frames is not None else 0)
        _show(steps, (service.http_url if protocol is APPSYNC_EVENTS else None) or target)
    raise typer.Exit(int(ExitCode.TARGET) if any(step.ok is False for step in steps) else 0)


def _show_frames(frames: list[Any], left_out: int) -> None:
    console, step = Console(highlight=False, soft_wrap=True), None
    for frame in frames:
        if frame.step != step:
            step = frame.step
            console.print(Text(f"\n{step}", "bold"))
        for number, line in enumerate(frame.text.split("\n")):
            way = "  " if number else "→ " if frame.sent else "← "
            console.print(Text.assemble((way, "green" if frame.sent else "cyan"), _clean(line)))
    if left_out:
        console.print(f"\nand {left_out:,} more frames")


def _show(steps: list[Any], url: str) -> None:
    console = screen()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    signs = {True: Text("✓", "green"), False: Text("✗", "red"), None: Text("·", "dim")}
    for step in steps:
        elapsed = "" if step.elapsed_ms is None else f"{step.elapsed_ms:,.1f} ms"
        tried = step.ok is not None or step.detail
        detail = Text(_clean(step.detail) if tried else "not tried", "" if step.ok else "dim")
        if step.ok is False:
            detail = Text(_clean(step.detail), "red").append(f"\n{step.advice}", "default")
        table.add_row(signs[step.ok], step.name, elapsed, detail)
    console.print(Text(f"\n{_clean(url)}\n", "bold"))
    console.print(table)
    failed = next((step for step in steps if step.ok is False), None)
    said = "all is well" if failed is None else f"{failed.name} fails"
    console.print(Text(f"\n{said}", "green" if failed is None else "red"))


def _tell(protocol: "TargetProtocol", deviations: list[str]) -> None:
    rule = "AWS" if protocol.name.startswith("appsync-") else "its protocol file"
    for what in deviations:
        print(f"loadgen: the service deviates from {rule}: {_clean(what)}", file=sys.stderr)
