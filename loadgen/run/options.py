"""The table of a run's options.

It defines the command line of `loadgen run`, the options added to Locust's parser, and the arguments of the Locust
subprocess. `RunOptions` has a field for each option. The field has the option's name, type and default, and its
annotation holds everything else about the option. A new option is added to `RunOptions` and nowhere else. No option
takes a secret, since command lines are public: options name the variables and files that hold secrets.
"""

from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin

from loadgen.credentials.help import HELP as LOGIN_HELP
from loadgen.run.option import AbortOn, Option, Panel, Progress, Reader

#: Environment variable that sets `--weight`, for container platforms.
WEIGHT: Final = "LOADGEN_WEIGHT"
#: Environment variables that may hold the text of a join file, since container platforms pass secrets that way.
JOIN_MASTER: Final = "LOADGEN_JOIN_MASTER"
JOIN_WORKER: Final = "LOADGEN_JOIN_WORKER"


# Each of the following functions declares an option in one group of the help.
_scenario = partial(Option, panel=Panel.SCENARIO)
_target = partial(Option, panel=Panel.TARGET)
_login = partial(Option, panel=Panel.LOGIN)
_permission = partial(Option, panel=Panel.PERMISSIONS)
_output = partial(Option, panel=Panel.OUTPUT)
_workers = partial(Option, panel=Panel.WORKERS)
_live = partial(Option, panel=Panel.LIVE)
_cost = partial(Option, panel=Panel.COST)

_DEFAULT_SCENARIO: Final = "comments"


@dataclass
class RunOptions:
    """The options of `loadgen run`, in the order of its help."""

    #: The scenario that plain Locust runs if no scenario is named.
    DEFAULT_SCENARIO: ClassVar[str] = _DEFAULT_SCENARIO

    scenario: Annotated[
        str | None,
        _scenario(
            help="Catalogue name (see `loadgen scenarios`), YAML file, folder of a run to repeat, or locustfile with"
            " EventsUser classes; with --worker only a locustfile is needed.",
            argument=True,
            metavar="SCENARIO",
            locust_default=_DEFAULT_SCENARIO,
        ),
    ] = None
    target: Annotated[
        str | None,
        _target(
            help="URL of an Event API, aws:STACK for a stack of `loadgen aws up`, mqtt://HOST for a broker, or a URL of"
            " a protocol file such as nats+ws://HOST:PORT; default: the embedded server.",
            metavar="URL",
        ),
    ] = None
    api_key_env: Annotated[
        str | None,
        _login(help="Environment variable with the target's API key.", metavar="NAME"),
    ] = None
    auth: Annotated[str | None, _login(help=LOGIN_HELP, metavar="HOW")] = None
    results: Annotated[Path, _output(metavar="FOLDER", help="Folder to create the run folder in.")] = Path(
        "results"
    )
    output: Annotated[
        Path | None,
        _output(
            metavar="FOLDER",
            help="The run folder itself, new or empty; default: one in --results, named by time and scenario, to which"
            " the link `latest` there points.",
        ),
    ] = None
    faults: Annotated[
        Path | None,
        _target(help="Faults for the embedded server to inject (YAML).", metavar="FILE"),
    ] = None
    journal: Annotated[
        Path | None,
        _target(help="Folder for the embedded server's journal.", metavar="FOLDER"),
    ] = None
    overrides: Annotated[
        list[str],
        _scenario(
            flag="--set", help="Override a value, such as clients.readers.count=100.", metavar="KEY=VALUE"
        ),
    ] = field(default_factory=list)
    data: Annotated[
        list[str],
        _scenario(
            help="With a locustfile: rows for self.data.NAME, from a .csv, .jsonl or .parquet in its folder.",
            metavar="NAME=FILE",
        ),
    ] = field(default_factory=list)
    users: Annotated[
        int | None,
        _scenario(reader=Reader.PARENT, help="With a locustfile: number of users.", minimum=1),
    ] = None
    spawn_rate: Annotated[
        float | None,
        _scenario(
            reader=Reader.PARENT, help="With a locustfile: users that begin per second.", minimum=0.001
        ),
    ] = None
    run_time: Annotated[
        str | None,
        _scenario(reader=Reader.PARENT, help="With a locustfile: length of the measurement.", metavar="30s"),
    ] = None
    tags: Annotated[
        list[str],
        _scenario(
            reader=Reader.PARENT, help="Run only the tasks of users that have this tag.", metavar="TAG"
        ),
    ] = field(default_factory=list)
    exclude_tags: Annotated[
        list[str],
        _scenario(
            reader=Reader.PARENT, help="Leave out the tasks of users that have this tag.", metavar="TAG"
        ),
    ] = field(default_factory=list)
    allow_users: Annotated[
        bool,
        _permission(
            reader=Reader.PARENT, help="Allow a scenario to run the Python files that its `users` name."
        ),
    ] = False
    abort_on: Annotated[
        list[AbortOn],
        _scenario(
            help="End the run early (exit code 3): invalid: once a worker is lost or your code fails; rate: once 5 % of"
            " the events that were due are not sent.",
            metavar="invalid|rate",
        ),
    ] = field(default_factory=list)
    processes: Annotated[
        int,
        _workers(reader=Reader.PARENT, help="Worker processes on this machine.", minimum=1, maximum=256),
    ] = 1
    master: Annotated[
        bool,
        _workers(reader=Reader.PARENT, help="Run as master of workers on other machines.", negatable=True),
    ] = False
    expect_workers: Annotated[
        int,
        _workers(
            reader=Reader.PARENT, help="With --master: start once this many workers have joined.", minimum=1
        ),
    ] = 1
    worker: Annotated[
        bool,
        _workers(reader=Reader.PARENT, help="Run as worker of the master at --master-host.", negatable=True),
    ] = False
    master_host: Annotated[
        str,
        _workers(reader=Reader.PARENT, metavar="HOST", help="With --worker: host of the master."),
    ] = "127.0.0.1"
    master_port: Annotated[
        int,
        _workers(reader=Reader.PARENT, metavar="PORT", help="Port of the master.", minimum=1, maximum=65535),
    ] = 5557
    weight: Annotated[
        str | None,
        _workers(
            reader=Reader.WORKER,
            help="With --worker: relative share of the clients; 2 gets twice as many as 1 (default:"
            f" {WEIGHT} or 1).",
            metavar="NUMBER",
            variables=(WEIGHT,),
        ),
    ] = None
    workers_timeout: Annotated[
        float,
        _workers(help="With --master: time to wait for workers.", metavar="SECONDS", minimum=1),
    ] = 600.0
    master_bind_host: Annotated[
        str,
        _workers(
            reader=Reader.PARENT, metavar="ADDRESS", help="With --master: address to listen on for workers."
        ),
    ] = "127.0.0.1"
    join: Annotated[
        Path | None,
        _workers(
            reader=Reader.BOTH,
            help="With --master or --worker: file with the keys for workers to join; a master creates it if it is"
            f" missing (default: {JOIN_MASTER}, {JOIN_WORKER}).",
            metavar="FILE",
            variables=(JOIN_MASTER, JOIN_WORKER),
        ),
    ] = None
    max_cost: Annotated[
        float | None,
        _cost(
            help="Refuse a run estimated to cost more on AWS, and stop one that has cost more.",
            metavar="USD",
            minimum=0,
        ),
    ] = None
    prices: Annotated[
        Path | None,
        _cost(help="Your own prices and quotas (YAML); see docs/prices.md.", metavar="FILE"),
    ] = None
    summary_json: Annotated[
        bool,
        _output(
            flag="--json",
            help="Print the summary as JSON, and nothing else to standard output.",
            # Locust already has an option `--json`.
            locust_flag="--summary-json",
        ),
    ] = False
    quiet: Annotated[
        bool,
        _output(help="Show no progress, and of the results only the verdict and where they are."),
    ] = False
    progress: Annotated[
        Progress,
        _output(
            help="auto: one line that is redrawn on a terminal, or else a line now and then; plain: always the latter."
        ),
    ] = Progress.AUTO
    progress_interval: Annotated[
        float,
        _output(help="Time between plain lines.", metavar="SECONDS", minimum=0.1),
    ] = 5.0
    report: Annotated[
        bool,
        _output(
            help="Write report.html; `loadgen report FOLDER` can write it later.",
            negatable=True,
            locust_flag="--no-report",
            locust_opposite=True,
            locust_help="Do not write report.html; `loadgen report FOLDER` can write it later.",
        ),
    ] = True
    yes: Annotated[
        bool,
        _cost(
            help="Do not ask before a run that costs money.",
            # Plain Locust never asks for confirmation: without this option it refuses a run that costs money.
            locust_help="Allow a run that costs money.",
        ),
    ] = False
    allow_remote: Annotated[
        bool,
        _permission(
            reader=Reader.BOTH,
            help="Allow a target on another machine (not a loopback address).",
        ),
    ] = False
    no_proxy: Annotated[
        bool,
        _target(reader=Reader.BOTH, help="Connect directly: ignore HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."),
    ] = False
    allow_env: Annotated[
        list[str],
        _permission(
            reader=Reader.BOTH,
            help="Allow a scenario, protocol file or master to use this environment variable.",
            metavar="NAME",
        ),
    ] = field(default_factory=list)
    allow_file: Annotated[
        list[Path],
        _permission(
            reader=Reader.BOTH,
            help="Allow a scenario or master to log in with this file, or with files in this folder.",
            metavar="PATH",
        ),
    ] = field(default_factory=list)
    spool_to: Annotated[
        str | None,
        _permission(
            reader=Reader.BOTH,
            help="Workers store their rows here instead of sending them to the master: a folder, s3://BUCKET/PREFIX or"
            " gs://BUCKET/PREFIX. With --worker: allow a master to name it.",
            metavar="URI",
        ),
    ] = None
    allow_commands: Annotated[
        bool,
        _permission(
            reader=Reader.BOTH, help="Allow a scenario or master to run a command that prints a token."
        ),
    ] = False
    profile: Annotated[
        str | None,
        # Locust has its own option `--profile`, so on Locust's command line this option has another name.
        _target(help="With aws:STACK: AWS profile.", metavar="NAME", locust_flag="--aws-profile"),
    ] = None
    region: Annotated[
        str | None,
        _target(
            help="With aws:STACK: AWS region of the stack.", metavar="REGION", locust_flag="--aws-region"
        ),
    ] = None
    cloudwatch: Annotated[
        bool,
        _output(
            reader=Reader.PARENT,
            help="Compare the results with CloudWatch's metrics, which takes some minutes after the run.",
        ),
    ] = False
    web: Annotated[
        bool,
        _live(
            reader=Reader.PARENT, help="Show Locust's web UI and wait for its start button.", negatable=True
        ),
    ] = False
    web_port: Annotated[
        int,
        _live(reader=Reader.PARENT, metavar="PORT", help="Port of the web UI.", minimum=1, maximum=65535),
    ] = 8089
    prometheus: Annotated[
        str | None,
        _live(
            help="Serve metrics for Prometheus at /metrics; without HOST on the loopback interface only.",
            metavar="[HOST:]PORT",
        ),
    ] = None
    allowed_hosts: Annotated[
        list[str],
        _live(
            flag="--allowed-host",
            help="Accept this host name too, for the web UI and the Prometheus port.",
            metavar="NAME",
        ),
    ] = field(default_factory=list)
    otel: Annotated[
        bool,
        _live(
            help="Push metrics by OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT (needs the extra `live`).",
            # Locust already has an option `--otel`.
            locust_flag="--live-otel",
            locust_help="Push metrics by OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT (needs the extra `live`);"
            " Locust's own --otel does so too.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class Entry:
    """An option of `RunOptions`, with its name, type and default."""

    name: str
    """The field of `RunOptions`."""
    type: type
    """Type of a value: str, int, float, bool, Path or a StrEnum."""
    repeatable: bool
    default: Any
    """The default, or None for a repeatable option."""
    option: Option

    @property
    def flag(self) -> str:
        """The option's name on the command line of `loadgen run`, such as `--target`."""
        return self.option.flag or _flag_of(self.name)

    @property
    def of_locust(self) -> bool:
        """True if the harness adds the option to Locust's command line."""
        return self.option.reader is not Reader.PARENT

    @property
    def locust_flag(self) -> str:
        """The option's name on Locust's command line."""
        return self.option.locust_flag or self.flag

    @property
    def locust_name(self) -> str:
        """The option's name among Locust's parsed options."""
        changed = self.option.locust_flag
        return self.name if changed is None else changed.removeprefix("--").replace("-", "_")


def _flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _entry(found: "Field[Any]") -> Entry:
    hint, option = get_args(found.type)
    repeatable = get_origin(hint) is list
    kind = next((kind for kind in get_args(hint) if kind is not type(None)), hint)
    return Entry(found.name, kind, repeatable, None if found.default is MISSING else found.default, option)


#: The options of a run, keyed by field name of `RunOptions`.
ENTRIES: Final = {found.name: _entry(found) for found in fields(RunOptions)}
