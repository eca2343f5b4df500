"""The harness's options on Locust's command line; `loadgen run` passes its own options on through them."""

from argparse import ArgumentParser

from loadgen.credentials.help import HELP as LOGIN_HELP
from loadgen.run import registration as joining
from loadgen.run import runners
from loadgen.run.join import MASTER_VARIABLE, WORKER_VARIABLE


def add_options(parser: ArgumentParser) -> None:
    """Add the harness's options to Locust's parser, in a group: Locust's web form shows options outside of groups."""
    group = parser.add_argument_group("Event API load (loadgen)")
    group.add_argument("--scenario", default="comments", help="name in the catalogue, or a YAML file")
    group.add_argument(
        "--target",
        default=None,
        help="URL of the Event API, aws:STACK for one of `loadgen aws up`, mqtt://HOST for a broker, or another"
        " service by a protocol file; default: the embedded server",
    )
    group.add_argument(
        "--allow-remote",
        action="store_true",
        help="send the load to a target that is not this machine (no loopback address)",
    )
    group.add_argument(
        "--no-proxy",
        action="store_true",
        help="connect directly, whatever HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say",
    )
    group.add_argument(
        "--allow-env",
        action="append",
        default=[],
        metavar="NAME",
        help="environment variable that a scenario, a protocol file or a master may use",
    )
    group.add_argument(
        "--allow-file",
        action="append",
        default=[],
        metavar="PATH",
        help="file, or folder of files, that a scenario or a master may log in with",
    )
    group.add_argument(
        "--allow-commands",
        action="store_true",
        help="let a scenario or a master name a command that prints a token",
    )
    # Not --profile, which is an unrelated option of Locust.
    group.add_argument("--aws-profile", default=None, help="profile of the AWS configuration, for aws:STACK")
    group.add_argument("--aws-region", default=None, help="AWS region of the stack, for aws:STACK")
    group.add_argument(
        "--api-key-env", default=None, help="environment variable that holds the target's API key"
    )
    group.add_argument("--auth", default=None, help=LOGIN_HELP)
    group.add_argument("--faults", default=None, help="what the embedded server does wrong on purpose")
    group.add_argument("--journal", default=None, help="where the embedded server writes down what it did")
    group.add_argument(
        "--prometheus",
        default=None,
        metavar="[HOST:]PORT",
        help="serve metrics for Prometheus; default host: 127.0.0.1",
    )
    group.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        default=[],
        metavar="NAME",
        help="host name under which browsers and Prometheus may ask for the web UI and the metrics besides the address"
        " that these listen on; may be repeated",
    )
    group.add_argument(
        "--live-otel",
        action="store_true",
        help="push the run's metrics to OTEL_EXPORTER_OTLP_ENDPOINT; Locust's own --otel does so as well",
    )
    # Locust listens on all interfaces by default; here that needs an explicit option.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
    group.add_argument(
        "--join",
        default=None,
        metavar="FILE",
        help="file with the keys by which workers join the master, on both sides; the master makes it where there is"
        f" none (default: {MASTER_VARIABLE} and {WORKER_VARIABLE})",
    )
    group.add_argument(
        "--weight",
        default=None,
        help="of a worker: one of weight 2 has twice the clients of one of weight 1 (default:"
        f" {joining.WEIGHT} or 1)",
    )
    group.add_argument(
        "--workers-timeout",
        type=float,
        default=600.0,
        help="of a master: how many seconds to wait for --expect-workers",
    )
    group.add_argument("--results", default="results", help="folder for run folders")
    group.add_argument("--prices", default=None, help="prices and quotas of the service (YAML)")
    group.add_argument(
        "--max-cost",
        type=float,
        default=None,
        help="stop a run that would cost more on AWS, in US dollars",
    )
    group.add_argument(
        "--yes",
        action="store_true",
        help="begin a run against a real target whatever it is estimated to cost",
    )
    group.add_argument(
        "--no-report", action="store_true", help="draw no report.html; `loadgen report` does later"
    )
    group.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the scenario, such as clients.readers.count=100",
    )
    runners.own_options.update(action.dest for action in group._group_actions)
