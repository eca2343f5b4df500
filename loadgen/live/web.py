"""Add the Fan-out tab and /metrics to Locust's web UI.

Once a run is over, the tab also shows its verdict and links its report, which is served from the run folder.

Locust's UI accepts further tabs (`extended_tabs`) but can fill them only with tables, so an additional script on its
page draws into the tab. The same content is also a separate page at /fan-out. Nothing is loaded from other servers.

Locust answers requests from web pages of any origin, and its start form can set any option; `Entry` and `guard` prevent
both.
"""

from collections.abc import Callable, Iterable
from importlib.resources import files
from itertools import islice
from typing import Any, Final, TypeVar

from flask import Blueprint, Flask, Response, jsonify, request
from locust.argument_parser import ui_extra_args_dict
from locust.runners import STATE_INIT, STATE_SPAWNING
from prometheus_client import make_wsgi_app
from werkzeug.test import run_wsgi_app

from loadgen.live.coming import Coming
from loadgen.live.entry import WILDCARDS, Entry, Hosts
from loadgen.live.outcome import Outcome
from loadgen.live.prometheus import registry
from loadgen.live.state import LiveState

#: The tab's key in the URL: ?tab=fan-out.
TAB: Final = "fan-out"
_TYPES: Final = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
_FILES: Final = ("page.html", "page.js", "tab.js", "live.js", "chart.js", "live.css")
#: Fields of Locust's start form.
_FORM: Final = frozenset(
    {"user_count", "spawn_rate", "host", "run_time", "user_classes", "shape_class", "profile"}
)
_BODY_MAX_BYTES: Final = 64 * 1024
_COMPLAINTS_SHOWN: Final = 10
_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; object-src 'none'"
)
#: Policy of the report's page, which is a file of a run folder. `sandbox` gives the page a separate origin, so that it
#: can neither read the UI's cookie nor send requests to the UI.
_REPORT_POLICY: Final = (
    "sandbox allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox; default-src 'none';"
    " script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_INJECTED: Final = (
    b'<link rel="stylesheet" href="./fan-out/live.css"><script type="module" src="./fan-out/tab.js"></script>'
)

_Function = TypeVar("_Function", bound=Callable[..., Response])
Current = Callable[[], LiveState | None]
#: Takes the name of a run that is over, and returns the run's result or None.
Ended = Callable[[str], Outcome | None]
#: Returns the run that the page's Start button will begin, or None until the run is prepared.
Prepared = Callable[[], Coming | None]


def extend(
    web_ui: Any,
    base_path: str,
    current: Current,
    ended: Ended = lambda _: None,
    prepared: Prepared = lambda: None,
) -> None:
    """Add the tab, its page and /metrics to Locust's web UI; call it before the UI begins to serve."""
    app: Flask = web_ui.app
    protected: Callable[[_Function], _Function] = web_ui.auth_required_if_enabled
    blueprint = Blueprint("loadgen_live", __name__, url_prefix=base_path or None)
    package = files("loadgen.live") / "page"
    content = {name: (package / name).read_bytes() for name in _FILES}
    metrics = make_wsgi_app(registry(current))

    def served(name: str) -> Response:
        answer = Response(content[name], mimetype=_TYPES[name.rpartition(".")[2]])
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    @blueprint.route("/fan-out")
    @protected
    def fan_out_page() -> Response:
        return served("page.html")

    @blueprint.route("/fan-out/<name>")
    @protected
    def fan_out_file(name: str) -> Response:
        return served(name) if name in content else Response("not found", 404)

    @blueprint.route("/fan-out/data")
    @protected
    def fan_out_data() -> Response:
        if "coming" in request.args:
            return jsonify(shown(None, None, -1, coming=prepared()))
        after = request.args.get("after", -1, type=int)
        return jsonify(shown(current(), request.args.get("run"), after, ended, prepared()))

    @blueprint.route("/fan-out/report/<run>")
    @protected
    def fan_out_report(run: str) -> Response:
        # The name is only compared with the names of this process's runs and never becomes part of a path.
        outcome = ended(run)
        content = None if outcome is None else outcome.report()
        if content is None:
            return Response("this process has no report of that run\n", 404, mimetype="text/plain")
        answer = Response(content, mimetype="text/html")
        answer.headers["Content-Security-Policy"] = _REPORT_POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @blueprint.route("/metrics")
    @protected
    def fan_out_metrics() -> Response:
        body, status, headers = run_wsgi_app(metrics, request.environ)
        return Response(body, status, headers)

    @app.after_request
    def inject(answer: Response) -> Response:
        if request.endpoint == "locust.index" and answer.status_code == 200 and not answer.is_streamed:
            answer.set_data(answer.get_data().replace(b"</body>", _INJECTED + b"</body>", 1))
        return answer

    _show_the_start(web_ui, prepared)
    app.register_blueprint(blueprint)
    tabs = [*web_ui.template_args.get("extended_tabs", []), {"title": "Fan-out", "key": TAB}]
    web_ui.template_args["extended_tabs"] = tabs


def _show_the_start(web_ui: Any, prepared: Prepared) -> None:
    """Make Locust's page show the target as its host, and a requested run as starting.

    While the embedded server starts and the workers get their plan, Locust's own state stays "ready", as before the
    start. Locust also caches its answers for two seconds or more. Its page polls two seconds after the start. If the
    answer is "ready", the page shows the form again and stops polling, although the run goes on.
    """
    app: Flask = web_ui.app
    fill_template = web_ui.update_template_args

    def state() -> str:
        runner = web_ui.environment.runner
        is_starting = runner.state == STATE_INIT and runner.shape_greenlet is not None
        return STATE_SPAWNING if is_starting else str(runner.state)

    def update_template_args() -> None:
        fill_template()
        web_ui.template_args["state"] = state()
        coming = prepared()
        if coming is not None:
            web_ui.template_args |= {
                "host": coming.target,
                "missing_host_warning": False,
                "override_host_warning": False,
            }

    @app.after_request
    def tell(answer: Response) -> Response:
        # Return a new object, since Locust caches `answer` and sends it again: the state added here would be outdated.
        is_told = request.endpoint == "locust.request_stats" and answer.is_json
        return jsonify({**answer.get_json(), "state": state()}) if is_told else answer

    @app.before_request
    def refuse_other_host() -> Response | None:
        coming = prepared()
        host = request.form.get("host", "") if request.endpoint == "locust.swarm" else ""
        if coming is None or host in ("", coming.target):
            return None
        message = "the target cannot be set here: start the run with --target"
        refused = jsonify({"success": False, "message": message, "host": coming.target})
        refused.status_code = 400
        return refused

    web_ui.update_template_args = update_template_args


def guard(web_ui: Any, token: str, names: Iterable[str]) -> None:
    """Admit only requests with the token and for this host; call it before the UI begins to serve.

    The UI's start form is restricted to Locust's fields and the options of the user's locustfile. ``names`` are host
    names under which the UI answers, besides the address that it listens on.
    """
    app: Flask = web_ui.app
    app.config["MAX_CONTENT_LENGTH"] = _BODY_MAX_BYTES
    # Cookies apply to all ports of a host: the port in the cookie's name separates two runs on one machine.
    app.wsgi_app = Entry(  # type: ignore[method-assign]
        app.wsgi_app, Hosts(web_ui.host, names), "web UI", token, f"loadgen-{web_ui.port}"
    )

    @app.before_request
    def refuse_options() -> Response | None:
        if request.endpoint != "locust.swarm":
            return None
        # Locust would set any option that a request names: allow only the fields of Locust's form and the options of
        # the user's locustfile.
        other = sorted(set(request.form) - _FORM - set(ui_extra_args_dict()))
        if not other:
            return None
        return Response(
            f"{other[0][:100]!a} cannot be set here: start the run with the options that it shall have\n",
            400,
            mimetype="text/plain",
        )


def address_of(web_ui: Any, base_path: str) -> str:
    """Return the UI's URL for a browser on this machine."""
    host = "127.0.0.1" if web_ui.host in WILDCARDS else web_ui.host
    shown_host = f"[{host}]" if ":" in host else host
    return f"{'https' if web_ui.tls_cert else 'http'}://{shown_host}:{web_ui.port}{base_path}/"


def shown(
    state: LiveState | None,
    run: str | None,
    after: int,
    ended: Ended = lambda _: None,
    coming: Coming | None = None,
) -> dict[str, Any]:
    """Return the data for the page.

    ``run`` is the run that the page shows. If it is still the current run, the charts' data points are included only
    from number ``after + 1`` on; otherwise all data points are included.
    """
    if state is None or state.view is None:
        return {"run": None, "coming": None if coming is None else coming.rows}
    outcome = ended(state.run)
    view = state.view
    first = after if run == state.run else -1
    return {
        "run": state.run,
        "scenario": state.scenario,
        "outcome": None if outcome is None else _told(outcome),
        "target": state.target,
        "phase": view.phase,
        "elapsed_s": view.elapsed_s,
        "left_s": view.left_s,
        "verdict": {"kind": state.verdict.kind, "reasons": state.verdict.reasons},
        "gates": state.gates,
        "so_far": state.so_far,
        "connected": view.totals["connected"],
        "websockets": view.websockets,
        "ready": view.totals["ready"],
        "subscriptions": view.subscriptions,
        "lost_connections": view.totals["lost_connections"],
        "failed": view.totals["failed"],
        "complaints": view.complaints[:_COMPLAINTS_SHOWN],
        "points": list(islice(state.points, max(0, first + 1 - state.points[0]["number"]), None)),
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": int(outcome.code),
        "kind": outcome.kind,
        "sentence": outcome.sentence,
        "verdict": None
        if outcome.judged is None
        else dict(zip(("kind", "reasons"), outcome.judged, strict=True)),
        "gates": outcome.gates,
        "ledger": outcome.ledger,
        "has_report": outcome.has_report,
        "folder": str(outcome.folder),
    }
