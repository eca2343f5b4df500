"""The page on environment variables: their names are found in the source code, their meanings are in this module."""

import ast
from collections.abc import Iterator

from writing import REPO, code, head, table

from loadgen.transport import proxy

_MEANINGS = {
    "LOADGEN_TARGET": "URL of the Event API for `loadgen publish`, `subscribe` and `probe`; what `--target`"
    " says goes before it.",
    "LOADGEN_AUTH": "How these three log in, as `--auth`.",
    "LOADGEN_API_KEY": "The API key with which these three log in where nothing else is said; `loadgen serve` prints"
    " the line to export.",
    "LOADGEN_NATIVE": "`0`: the receive path in Python, though the native one is there (a run's"
    " record says which it was)."
    " When installing: `0` builds none, `require` fails where it cannot be built.",
    "LOADGEN_DEBUG": "`1`: a defect of ours shows its traceback, and not only its sentence.",
    "LOADGEN_JOIN_MASTER": "Of a master without `--join`: its half of the keys, as `loadgen join` prints it.",
    "LOADGEN_JOIN_WORKER": "Of a worker without `--join`: its half of the keys, as `loadgen join` prints it.",
    "LOADGEN_WEIGHT": "Of a worker: its part of the clients, as `--weight`; 2 has twice as many as 1, the default.",
    "LOADGEN_WEB_TOKEN": "The token of the [web UI](../live.md#who-may-open-it), 16 to 200 letters, digits, `-` or `_`;"
    " without it each process makes one and prints it.",
    "LOADGEN_SOURCE_ADDRESSES": "Of a worker: addresses of its machine, separated by commas, from which connections"
    " leave in turn ([when there are more than one address has ports](../distributed.md#a-million-subscribers)).",
    "LOADGEN_CLOCKBOUND": "Where ClockBound's shared memory is, if not at `/var/run/clockbound/shm0`"
    " ([what it is used for](../concepts/clocks.md#clockbound)).",
    "LOADGEN_RUN": "The folder of the run, or of the search, that a notebook opens; `loadgen notebook` sets it."
    " Without it a notebook opens the sample.",
    "LOADGEN_BASE": "What the comparison notebook compares with; `loadgen notebook --base` sets it.",
    "SSL_CERT_FILE": "File of certificate authorities to trust instead of the system's, for targets over TLS.",
    "SSL_CERT_DIR": "The same as a folder.",
    "HTTPS_PROXY": "Proxy for targets over TLS, as `http://NAME:PASSWORD@HOST:PORT` ([Behind a proxy](../proxies.md))."
    " This and the next three also in lower case, which goes before.",
    "HTTP_PROXY": "Proxy for targets without TLS.",
    "ALL_PROXY": "Proxy where the one of the two that applies is not set.",
    "NO_PROXY": "Hosts that are reached directly: names, domains, addresses, networks, or `*`.",
    "AWS_REGION": "Region of a login where neither the login nor the target's URL says one. With `--auth iam` every"
    " variable counts that AWS's tools read (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, …).",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where `--otel` sends metrics to, default `http://localhost:4318`."
    " OpenTelemetry's other variables hold, too: see [Watching a run](../live.md#opentelemetry).",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "The same, with the whole path.",
    "OTEL_METRIC_EXPORT_INTERVAL": "Milliseconds between two exports of `--otel`, default 5000.",
    "OTEL_SERVICE_NAME": "`service.name` of what `--otel` sends, default `loadgen`.",
    "XDG_CACHE_HOME": "Where `loadgen plan --calibrate` keeps its figures, in `loadgen/`; default `~/.cache`.",
    "COLUMNS": "Width of tables and help where the output is no terminal; default 120, and 80 for help.",
    "FORCE_COLOR": "Set and not empty: the progress line is drawn even if the output is no terminal. Empty: it"
    " never is.",
    "TTY_COMPATIBLE": "`1`: the same, and goes before it; `0`: nothing is drawn, not even on a terminal.",
    "TMPDIR": "Where `loadgen calibrate` keeps its runs when `--results` is left out.",
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
    # Set by web servers for CGI programs. In such a program, HTTP_PROXY may come from a request and is not trusted.
    "REQUEST_METHOD",
}


def page() -> str:
    """Return the page.

    Raises:
        ValueError: the sources read a variable that is not described, or do not read one that is.
    """
    found = set(_found())
    if missing := sorted(found - set(_MEANINGS) - _INTERNAL):
        raise ValueError(f"docs/generate/environment.py says nothing of {', '.join(missing)}")
    if gone := sorted((set(_MEANINGS) | _INTERNAL) - found):
        raise ValueError(f"docs/generate/environment.py has {', '.join(gone)}, which no source reads")
    return "\n".join(
        [
            head("Environment variables", "the sources"),
            "Variables that hold secrets are named by you: `--api-key-env NAME`, `--auth MODE:NAME`, and the keys that"
            " end in `_env` of a [login](scenario-file.md#targetauth-clientsgrouplogin). The value is read when it is"
            " needed and goes into no record, log, report or process list.\n",
            table(("variable", "meaning"), [(code(name), meaning) for name, meaning in _MEANINGS.items()]),
        ]
    )


def _found() -> Iterator[str]:
    # The code reads these in a loop over the two constants, so the search below does not find them.
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
