"""Pass the options of `loadgen run` on to its Locust subprocess.

The subprocess is Locust with the options of `loadgen.run.options`, and reads only its command line. An option that is
missing in these tables has no effect; `tests/run/test_passing.py` checks every option.
"""

from collections.abc import Callable
from typing import Any, Final

from loadgen.cli.request import Request

_Value = Callable[[Request], Any]

#: Options for masters and workers alike. A worker's permissions must come from its own user, never from the master.
_BOTH: Final[dict[str, _Value]] = {
    "--allow-env": lambda request: request.allow_env,
    "--allow-file": lambda request: request.allow_file,
    "--allow-commands": lambda request: request.allow_commands,
    "--no-proxy": lambda request: request.no_proxy,
    "--join": lambda request: request.join,
}
_OF_WORKER: Final[dict[str, _Value]] = {
    "--weight": lambda request: request.weight,
}
_OF_MASTER: Final[dict[str, _Value]] = {
    "--scenario": lambda request: request.scenario,
    "--results": lambda request: request.results,
    "--set": lambda request: request.overrides,
    "--target": lambda request: request.target,
    "--api-key-env": lambda request: request.api_key_env,
    "--auth": lambda request: request.auth,
    "--allow-remote": lambda request: request.allow_remote,
    "--aws-profile": lambda request: request.profile,
    "--aws-region": lambda request: request.region,
    "--max-cost": lambda request: request.max_cost,
    "--prices": lambda request: request.prices,
    "--yes": lambda request: request.yes,
    "--no-report": lambda request: not request.report,
    "--faults": lambda request: request.faults,
    "--journal": lambda request: request.journal,
    "--prometheus": lambda request: request.prometheus,
    "--allowed-host": lambda request: list(request.allowed_hosts),
    "--live-otel": lambda request: request.otel,
    "--workers-timeout": lambda request: request.workers_timeout,
}


def passed_on(request: Request) -> list[str]:
    """Return the arguments for the Locust subprocess: each option that has a value, repeated for items of a list."""
    table = _BOTH | (_OF_WORKER if request.worker else _OF_MASTER)
    return [part for option, value in table.items() for part in _written(option, value(request))]


def _written(option: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    # Joined by an equals sign because a value may begin with a dash.
    return [f"{option}={each}" for each in (value if isinstance(value, list) else [value])]
