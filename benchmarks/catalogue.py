"""Check that each scenario gives a valid run on this machine: `python benchmarks/catalogue.py [SCENARIO ...]`.

Each scenario runs with its own defaults against the embedded server on the same machine, except that a measure phase
longer than `--longest` is shortened to it. Prints exit code, verdict with its findings, deliveries and headline
latency. The value after ± is the largest possible error of that latency, as computed from the run's record. `--json
FILE` also writes the results to FILE and keeps the results of other scenarios in it, so the catalogue can be run in
pieces. Nothing else may run meanwhile. Exits with 1 if a run was not valid or did not pass.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
sys.path[:0] = [str(REPO), str(HERE)]

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402
from speed.surroundings import surroundings  # noqa: E402

from analysis.record.folders import runs_in  # noqa: E402

SCENARIOS = REPO / "scenarios"
#: Seconds that a run may take in addition to its phases, for its start, ramp and report.
SPARE_S = 120
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: The scenario that needs a server with its own API file, and the environment variable with that server's API key.
FEEDS, FEEDS_KEY = "private-feeds", "FEEDS_KEY"

Result = dict[str, Any]


def names() -> list[str]:
    """Return the names of all scenarios of the catalogue."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def _scenario(name: str) -> Any:
    return YAML(typ="safe").load((SCENARIOS / f"{name}.yaml").read_text())


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``20s`` or ``30m``."""
    unit = text.lstrip("0123456789.")
    return float(text[: len(text) - len(unit)]) * _UNITS_S[unit]


@contextmanager
def prepared(name: str, folder: Path) -> Iterator[tuple[list[str], dict[str, str], Path]]:
    """Yield the arguments of `loadgen run` for a scenario, its environment variables and its working directory.

    `private-feeds` runs against a server with its own API file and with keys made for this run. The comment at the top
    of the scenario file describes these steps.
    """
    scenario = _scenario(name)
    if name != FEEDS:
        users = any("users" in group for group in scenario["clients"].values())
        yield [name, *(["--allow-users"] if users else [])], {}, folder
        return
    copy = folder / "feeds"
    _loadgen(folder, "scenarios", FEEDS, "--copy", str(copy))
    _loadgen(copy, "keys", FEEDS)
    environment = {FEEDS_KEY: f"da2-{secrets.token_hex(13)}"}
    api = ["--api", f"{FEEDS}/api.yaml", "--api-key-env", FEEDS_KEY]
    server = subprocess.Popen(
        [sys.executable, "-m", "loadgen.server", *api, "--announce", "--exit-with-stdin"],
        cwd=copy, env=_environment() | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["http_url"]
        yield [
            f"{FEEDS}.yaml", "--target", url, "--api-key-env", FEEDS_KEY,
            "--allow-file", f"{FEEDS}/signing.pem",
        ], environment, copy  # fmt: skip
    finally:
        server.kill()
        server.communicate()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO)}


def _loadgen(folder: Path, *arguments: str) -> None:
    """Run a command of `loadgen`; raises subprocess.SubprocessError if it fails."""
    subprocess.run(
        [sys.executable, "-m", "loadgen", *arguments],
        cwd=folder, env=_environment(), check=True, capture_output=True, timeout=SPARE_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def run(name: str, longest_s: float, results: Path) -> Result:
    """Run one scenario; return its figures, or the reason of its failure under the key ``failed``."""
    measured = seconds(_scenario(name)["phases"]["measure"])
    shortened = measured > longest_s
    extra = ["--set", f"phases.measure={longest_s:g}s"] if shortened else []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loadgen-catalogue-") as scratch:
        try:
            with prepared(name, Path(scratch)) as (arguments, environment, working):
                done = subprocess.run(
                    [
                        sys.executable, "-m", "loadgen", "run", *arguments, *extra,
                        "--results", str(results / name),
                    ],
                    cwd=working, env=_environment() | environment, capture_output=True, text=True,
                    stdin=subprocess.DEVNULL, timeout=min(measured, longest_s) + SPARE_S,
                )  # fmt: skip
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            return {"scenario": name, "failed": f"{type(error).__name__}: {error}"[:500]}
    result: Result = {
        "scenario": name,
        "shortened_to_s": longest_s if shortened else None,
        "exit": done.returncode,
        "took_s": round(time.monotonic() - began, 1),
    }
    found = runs_in(results / name, "summary.json")
    if not found:
        return {**result, "failed": done.stderr.strip()[-500:]}
    return result | figures(json.loads((found[-1] / "summary.json").read_text()))


def figures(summary: Mapping[str, Any]) -> Result:
    """Return the figures of a run from its summary."""
    headline, ledger, health = summary["delivery"]["headline_ns"], summary["ledger"], summary["health"]
    return {
        "verdict": summary["verdict"]["kind"],
        "findings": [
            {key: each[key] for key in ("severity", "subject", "reason")}
            for each in summary["verdict"]["findings"]
        ],
        "gates": {
            state: sum(gate["status"] == state for gate in summary["gates"])
            for state in sorted({gate["status"] for gate in summary["gates"]})
        },
        "delivered": ledger["delivered"],
        "expected": ledger["expected"],
        "p50_ns": headline["p50"],
        "p50_error_ns": error_ns(headline, "p50"),
        "p99_ns": headline["p99"],
        "p99_error_ns": error_ns(headline, "p99"),
        "cpu_worst": health["cpu_worst"],
        "receive_queue_p99_ns": summary["delivery"]["receive_queue_ns"]["p99"],
    }


def error_ns(spread: Mapping[str, Any], key: str) -> int | None:
    """Return the maximum error (ns) of a measured percentile, or None if unknown."""
    value = spread[key]
    if value is None or spread["error_ns"] is None:
        return None
    bounds = (each[key] for each in (spread["low"], spread["high"]) if each)
    return int(max((abs(each - value) for each in bounds), default=0) + spread["error_ns"])


def table(results: Sequence[Result]) -> Table:
    """Return the table of all results."""
    shown = Table(title="The catalogue", title_justify="left", show_lines=False)
    for column in ("scenario", "exit", "verdict", "gates", "delivered", "p50", "p99", "CPU", "took"):
        shown.add_column(column, justify="left" if column in ("scenario", "verdict", "gates") else "right")
    for one in results:
        if "failed" in one:
            shown.add_row(one["scenario"], str(one.get("exit", "–")), f"failed: {one['failed']}")
            continue
        shown.add_row(
            one["scenario"] + (f", {one['shortened_to_s']:g} s" if one["shortened_to_s"] else ""),
            str(one["exit"]),
            one["verdict"],
            ", ".join(f"{count} {state}" for state, count in one["gates"].items()) or "–",
            f"{one['delivered']:,} of {one['expected']:,}",
            _ms(one["p50_ns"], one["p50_error_ns"]),
            _ms(one["p99_ns"], one["p99_error_ns"]),
            "–" if one["cpu_worst"] is None else f"{one['cpu_worst']:.0%}",
            f"{one['took_s']:.0f} s",
        )
    return shown


def _ms(value_ns: int | None, error: int | None) -> str:
    if value_ns is None:
        return "–"
    return f"{value_ns / 1e6:.2f} ms ± " + ("?" if error is None else f"{error / 1e6:.2f}")


def good(result: Result) -> bool:
    """Return True if a run passed and was valid."""
    return result.get("exit") == 0 and result.get("verdict") == "valid"


def main() -> int:
    """Run the scenarios, and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all of the catalogue")
    parser.add_argument(
        "--longest",
        default="2m",
        metavar="DURATION",
        help="shorten longer measurements (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keep the runs in this folder")
    options = parser.parse_args()
    if unknown := [name for name in options.scenarios if name not in names()]:
        parser.error(f"no scenario {unknown[0]!r}: there are {', '.join(names())}")
    longest_s = seconds(options.longest)
    console = Console(width=None if sys.stdout.isatty() else 140)
    before: list[Result] = []
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text())["scenarios"]
    results = {one["scenario"]: one for one in before}
    scratch = Path(tempfile.mkdtemp(prefix="loadgen-catalogue-"))
    chosen = options.scenarios or names()
    try:
        for name in chosen:
            result = run(name, longest_s, (options.results or scratch).resolve())
            results[name] = result
            console.print(f"{name}: {result.get('verdict', 'failed')}, exit {result.get('exit', '–')}")
            for finding in result.get("findings", []):
                console.print(
                    f"  {finding['severity']}, {finding['subject']}: {finding['reason']}", markup=False
                )
            if options.json:
                kept = {**surroundings(), "scenarios": list(results.values())}
                options.json.write_text(json.dumps(kept, indent=1) + "\n")
    except KeyboardInterrupt:
        console.print("interrupted: the rest was not run")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    console.print(table(list(results.values())))
    ran = [results[name] for name in chosen if name in results]
    return 0 if len(ran) == len(chosen) and all(map(good, ran)) else 1


if __name__ == "__main__":
    sys.exit(main())
