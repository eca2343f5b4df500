"""`loadgen aws`: manage your own Event API on AWS, and fetch CloudWatch's metrics of a run."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.aws.access import Access, AwsError
from loadgen.cli.app import app, fail
from loadgen.cli.cloudwatch import fetch_metrics
from loadgen.cli.help import Application
from loadgen.exits import ExitCode, RunError

if TYPE_CHECKING:
    from loadgen.aws.stack import Event, Stack

commands = Application(
    help="Manage your own Event API on AWS (needs the extra `aws`).",
    no_args_is_help=True,
)
app.add_typer(commands, name="aws")

StackOption = Annotated[
    str, typer.Option(help="Name of the CloudFormation stack, and of the API.", metavar="NAME")
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="AWS profile; default: the one that other AWS tools use.", metavar="NAME"),
]
RegionOption = Annotated[
    str | None, typer.Option(help="AWS region; default: AWS_REGION or the profile's.", metavar="REGION")
]


class LogLevel(Enum):
    """Level of AppSync's logs in CloudWatch Logs."""

    OFF = "off"
    NONE = "none"
    ERROR = "error"
    INFO = "info"
    DEBUG = "debug"
    ALL = "all"


@commands.command()
def up(
    stack: StackOption = "loadgen",
    region: RegionOption = None,
    profile: ProfileOption = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Channel namespace to add; repeatable; default: `default`.", metavar="NAME"),
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(help="Level of logs in CloudWatch Logs, which AWS bills; default: off, or unchanged."),
    ] = None,
    key_days: Annotated[
        int | None,
        typer.Option(help="Days until the API key expires; default: 7, or unchanged.", min=1, max=365),
    ] = None,
) -> None:
    """Create an Event API with key and namespaces, or change it.

    If the stack exists already, its API is changed. Namespaces are only added, never removed.

    Exit codes: 0 the API is ready, 2 usage, 4 AWS refused or cannot be reached, 130 interrupted (CloudFormation
    continues).
    """
    from loadgen.aws.stack import Stacks, Wanted

    access, name = Access(profile, region), _named(stack)
    with _told(), _interruptible(name, access, "goes on with"):
        session = access.session()
        print(
            f"{name} in {session.region_name}: idle it costs nothing; a run costs what `loadgen plan` says",
            flush=True,
        )
        if log_level not in (None, LogLevel.OFF):
            print("logs are on: CloudWatch Logs bills what a load makes AppSync write", flush=True)
        stands, what = Stacks(session.client("cloudformation"), _event).up(
            name,
            Wanted(tuple(namespace or ()), None if log_level is None else log_level.value.upper(), key_days),
        )
    print(f"{what}: {name}, {stands.status}")
    _show(stands, session.region_name)
    _next_steps(name, access)


@commands.command()
def down(
    stack: StackOption = "loadgen",
    region: RegionOption = None,
    profile: ProfileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an Event API made by `up`, with key, namespaces and logs.

    Exit codes: 0 removed, or no such stack; 2 usage, not confirmed, or not made by `up`; 4 AWS refused; 130
    interrupted.
    """
    from loadgen.aws.stack import Stacks

    access, name = Access(profile, region), _named(stack)
    with _told(), _interruptible(name, access, "goes on removing"):
        session = access.session()
        stacks = Stacks(session.client("cloudformation"), _event)
        found = stacks.find(name)
        if found is None:
            print(f"nothing to remove: there is no stack {name} in {session.region_name}")
            return
        if found.ours and not yes:
            _confirm(f"remove the stack {name} in {session.region_name} with its API, key and logs")
        stacks.down(found)
    print(f"removed: {name}")


@commands.command()
def status(
    stack: StackOption = "loadgen", region: RegionOption = None, profile: ProfileOption = None
) -> None:
    """Show your Event API's state, URLs, namespaces and key expiry.

    The key itself is not shown.

    Exit codes: 0 the API is ready, 2 usage, 4 no such stack, a bad state, or AWS refused.
    """
    from loadgen.aws.stack import Stacks

    access, name = Access(profile, region), _named(stack)
    with _told():
        session = access.session()
        found = Stacks(session.client("cloudformation")).find(name)
    if found is None:
        print(
            f"there is no stack {name} in {session.region_name}: make it with `loadgen aws up --stack {name}`"
        )
        raise typer.Exit(int(ExitCode.TARGET))
    print(f"{name}: {found.status}" + (f" ({found.reason})" if found.reason else ""))
    _show(found, session.region_name)
    if not found.ours:
        print("not made by loadgen: `loadgen aws up` and `down` leave it alone")
    raise typer.Exit(int(ExitCode.PASSED if found.alive else ExitCode.TARGET))


@commands.command()
def template(
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Channel namespace; repeatable; default: `default`.", metavar="NAME"),
    ] = None,
) -> None:
    """Print the CloudFormation template as JSON, for your own tools."""
    from loadgen.aws.template import DEFAULT_NAMESPACE, body

    with _told():
        print(body(namespace or (DEFAULT_NAMESPACE,)))


@commands.command()
def metrics(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    region: RegionOption = None,
    profile: ProfileOption = None,
    api_id: Annotated[
        str | None, typer.Option(help="Id of the API; default: from the run's record.", metavar="ID")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the metrics stop changing, at most ten minutes.")
    ] = False,
) -> None:
    """Compare a run with CloudWatch's metrics.

    The metrics of the minutes in which the run took place are stored in the run's folder and shown in its report.

    Exit codes: 0 fetched, 2 usage, 3 no metrics, or none yet, 4 AWS refused or cannot be reached.
    """
    with _told():
        fetch_metrics(run, Access(profile, region), api_id, wait)


def _named(stack: str) -> str:
    from loadgen.aws.stack import STACK_PATTERN

    if not re.fullmatch(STACK_PATTERN, stack):
        fail(f"--stack {stack!a}: a letter, then up to 49 letters, digits and hyphens")
    return stack


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RunError as error:
        fail(str(error), error.code)


@contextmanager
def _interruptible(name: str, access: Access, goes_on: str) -> Iterator[None]:
    """On Ctrl-C raise an error that says how to see and remove the stack, since CloudFormation continues by itself."""
    try:
        yield
    except KeyboardInterrupt:
        options = f" --stack {name}{access.options()}"
        raise AwsError(
            f"interrupted: CloudFormation {goes_on} the stack {name} by itself if it had begun\n"
            f"see what stands: loadgen aws status{options}\n"
            f"remove it: loadgen aws down{options}",
            ExitCode.INTERRUPTED,
        ) from None


def _confirm(what: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail(f"this would {what}, and nobody can be asked: confirm it with --yes")
    print(f"loadgen: {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        fail("not confirmed: nothing is removed")


def _event(event: "Event") -> None:
    said = f"  {event.at.astimezone(UTC):%H:%M:%S}Z  {event.status:<28} {event.resource} ({event.kind})"
    print(said + (f": {event.reason}" if event.reason else ""), flush=True)


def _show(stack: "Stack", region: str) -> None:
    from loadgen.aws.access import clean

    def line(name: str, value: str) -> None:
        print(f"  {name:<12} {clean(value)}")

    line("region", region)
    for name, key in (("API id", "ApiId"), ("HTTP", "HttpUrl"), ("realtime", "RealtimeUrl")):
        if value := stack.outputs.get(key):
            line(name, value)
    if stack.namespaces:
        line("namespaces", ", ".join(stack.namespaces))
    if level := stack.parameters.get("LogLevel"):
        line("logs", level.lower())
    if expires_s := stack.key_expires_s:
        until = datetime.fromtimestamp(expires_s, UTC)
        over = " (over: `loadgen aws up` renews it)" if until < datetime.now(UTC) else ""
        line("key", f"good until {until:%Y-%m-%d %H:%M} UTC{over}; each run asks AppSync for it")


def _next_steps(name: str, access: Access) -> None:
    options = access.options()
    print("next:")
    print(f"  loadgen probe --target aws:{name}{options}")
    print(f"  loadgen run comments --target aws:{name}{options} --allow-remote")
    print(f"  loadgen aws down --stack {name}{options}")
