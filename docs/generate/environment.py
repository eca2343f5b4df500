"""The page on environment variables: their names are found in the source code, their meanings are in this module."""

import ast
from collections.abc import Iterator

from writing import REPO, code, head, table

from loadgen.transport import proxy

_MEANINGS = {
    "LOADGEN_TARGET": "The Event API's URL for `loadgen publish`, `subscribe` and `probe`. `--target` takes"
    " precedence.",
    "LOADGEN_AUTH": "The login for these three commands, written as for `--auth`.",
    "LOADGEN_API_KEY": "The API key for these three commands if no login is given. `loadgen serve` prints the line that"
    " exports its key.",
    "LOADGEN_NATIVE": "`0` receives in Python even if the native path is built; the run's record names the path that"
    " was used. When installing, `0` does not build the native path, and `require` fails if it can't be built.",
    "LOADGEN_DEBUG": "`1` prints a traceback for a defect of the program, after its sentence.",
    "LOADGEN_JOIN_MASTER": "The master's half of the keys, as `loadgen join` prints it, if there is no `--join`.",
    "LOADGEN_JOIN_WORKER": "A worker's half of the keys, as `loadgen join` prints it, if there is no `--join`.",
    "LOADGEN_WEIGHT": "A worker's share of the clients, as `--weight`: a worker with 2 gets twice as many clients as a"
    " worker with 1, the default.",
    "LOADGEN_WEB_TOKEN": "The token of the [web UI](../live.md#who-may-open-it): 16 to 200 letters, digits, `-` or `_`."
    " Without it, each process makes a token and prints it.",
    "LOADGEN_SOURCE_ADDRESSES": "A worker's source addresses, separated by commas, which its connections use in turn"
    " ([when one address has too few ports](../distributed.md#a-million-subscribers)).",
    "LOADGEN_CLOCKBOUND": "Path of ClockBound's shared memory, if not `/var/run/clockbound/shm0`"
    " ([how ClockBound is used](../concepts/clocks.md#clockbound)).",
    "LOADGEN_RUN": "The folder of the run or search that a notebook opens; `loadgen notebook` sets it. Without it, a"
    " notebook opens the sample run.",
    "LOADGEN_BASE": "The folder of the run that the comparison notebook compares with; `loadgen notebook --base` sets"
    " it.",
    "LOADGEN_PARTS_FROM": "Places from which commands may read the rows of runs with `--spool-to`, separated by spaces,"
    " as `--parts-from` ([how](../distributed.md#can-workers-store-their-rows-elsewhere)).",
    "SSL_CERT_FILE": "File of certificate authorities to trust instead of the system's, for targets over TLS.",
    "SSL_CERT_DIR": "Folder of certificate authorities to trust instead of the system's, for targets over TLS.",
    "HTTPS_PROXY": "Proxy for targets over TLS, as `http://NAME:PASSWORD@HOST:PORT` ([Behind a proxy](../proxies.md))."
    " The lower-case names of the proxy variables are read, too, and take precedence.",
    "HTTP_PROXY": "Proxy for targets without TLS.",
    "ALL_PROXY": "Proxy for all targets for which `HTTPS_PROXY` or `HTTP_PROXY` is not set.",
    "NO_PROXY": "Hosts to connect to directly: names, domains, addresses, networks, or `*` for all.",
    "AWS_REGION": "AWS region, if neither the login nor the target's URL names one. With `--auth iam`, all variables of"
    " AWS's own tools apply (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, …).",
    "AWS_DEFAULT_REGION": "AWS region of the bucket of `--spool-to`, if `AWS_REGION` is not set.",
    "AWS_ENDPOINT_URL": "URL of another service that speaks as S3 does, for `--spool-to` and `--parts-from`.",
    "AWS_ENDPOINT_URL_S3": "The same; takes precedence over `AWS_ENDPOINT_URL`.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "URL to which `--otel` sends metrics, default `http://localhost:4318`."
    " OpenTelemetry's other variables apply, too: see [Watching a run](../live.md#opentelemetry).",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "URL to which `--otel` sends metrics, with its whole path.",
    "OTEL_METRIC_EXPORT_INTERVAL": "Milliseconds between two exports of `--otel`, default 5000.",
    "OTEL_SERVICE_NAME": "`service.name` of the metrics that `--otel` sends, default `loadgen`.",
    "XDG_CACHE_HOME": "Cache folder, default `~/.cache`; `loadgen plan --calibrate` keeps its figures in its subfolder"
    " `loadgen/`.",
    "COLUMNS": "Width of tables and help if the output is no terminal; default 120 for tables and 80 for help.",
    "FORCE_COLOR": "Any text draws the progress line even if the output is no terminal; an empty value never draws it.",
    "TTY_COMPATIBLE": "`1` draws the progress line even if the output is no terminal; `0` never draws it. Takes"
    " precedence over `FORCE_COLOR`.",
    "TMPDIR": "Folder in which `loadgen calibrate` keeps its runs if there is no `--results`, and commands keep the"
    " rows read by `--parts-from`.",
}
#: Variables that users do not set: processes of the program pass them to each other, or other programs set them.
_INTERNAL = {
    # Set in the container image.
    "LOADGEN_IMAGE",
    "LOADGEN_QUIET",
    "LOADGEN_STARTER",
    "LOADGEN_STATUS_FD",
    "LOADGEN_RUN_FD",
    # Set for Locust while it is loaded.
    "LOCUST_SKIP_URLLIB3_PATCH",
    "LOADGEN_RUN_API_KEY",
    "LOADGEN_SERVER_API_KEY",
    "LOADGEN_CALIBRATION_KEY",
    "LOADGEN_CHOOSE_KEY",
    "LOADGEN_WEB_TOKEN",
    "PYTHONPATH",
    # Web servers set it for CGI programs. In such a program, HTTP_PROXY may come from a request and is not trusted.
    "REQUEST_METHOD",
}


def page() -> str:
    """Return the page.

    Raises:
        ValueError: the sources read a variable that is not described, or a described variable is read nowhere.
    """
    found = set(_found())
    if missing := sorted(found - set(_MEANINGS) - _INTERNAL):
        raise ValueError(f"docs/generate/environment.py says nothing of {', '.join(missing)}")
    if gone := sorted((set(_MEANINGS) | _INTERNAL) - found):
        raise ValueError(f"docs/generate/environment.py has {', '.join(gone)}, which no source reads")
    return "\n".join(
        [
            head("Environment variables", "the sources"),
            "You choose the names of variables that hold secrets: `--api-key-env NAME`, `--auth MODE:NAME`, and the"
            " keys of a [login](scenario-file.md#targetauth-clientsgrouplogin) that end in `_env`. The program reads"
            " the value when a login needs it, and writes it to no record, log, report or process list.\n",
            table(("variable", "meaning"), [(code(name), meaning) for name, meaning in _MEANINGS.items()]),
        ]
    )


def _found() -> Iterator[str]:
    # The code reads these variables in loops over the constants, so the search below does not find their names.
    yield from (*proxy.VARIABLES, proxy.CGI)
    files = [
        REPO / "hatch_build.py",
        *sorted(REPO.glob("loadgen/**/*.py")),
        *sorted(REPO.glob("analysis/**/*.py")),
    ]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Constant(value=str(text)) if text.startswith("LOADGEN_") and text.isupper():
                    yield text
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
                    args=[ast.Constant(value=str(text)), *_],
                ):
                    yield text
                case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(text))):
                    yield text
