"""Verify a comparison (the page, or the output of `loadgen compare --json` in a file) against the runs that it names.

The comparison is repeated with the recorded settings. A second opinion takes each run's figures from the tables in SQL,
and the means and intervals from `scipy.stats`: `gmean`, and `ttest_rel` or `ttest_ind` on logarithms. The spread within
runs can widen a comparison's interval, so the check only requires it to be no narrower than scipy's.
"""

import json
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis import text
from analysis.compare import page, profile
from analysis.compare.content import FORMAT, Settings, Side, content
from analysis.compare.decide import BETTER, SAME, WORSE
from analysis.compare.design import Design, Kind
from analysis.compare.plan import MOST_MAX
from analysis.compare.profile import Profile
from analysis.loading.run import ReadError, load
from analysis.record.revisions import COMPARISON
from analysis.verify import compared, independent
from analysis.verify.check import maker_of
from analysis.verify.compared import DamagedError, Verification

#: Relative difference up to which figures computed by logarithms agree: libraries differ in the last digits.
TOLERANCE: Final = 1e-9
_RESAMPLES_MAX: Final = 100_000
#: Path of each metric's figure in the result of `independent.figures`.
_IN_SQL: Final = {
    "delivery.latency.p50": "delivery.headline_ns.p50",
    "delivery.latency.p99": "delivery.headline_ns.p99",
    "fanout.last.p99": "fanout.last_ns.p99",
    "publish.latency.p99": "publish.answer_ns.p99",
    "delivery.rate": "throughput.delivered_per_s",
    "reaction.latency.p50": "reaction.latency_ns.p50",
    "reaction.latency.p99": "reaction.latency_ns.p99",
    "reaction.first.p99": "reaction.first_ns.p99",
    "reaction.gap.p99": "reaction.gap_ns.p99",
}


class Runs:
    """Cache of runs by folder, so that a run named by several comparisons is read only once."""

    def __init__(self) -> None:
        self._profiles: dict[Path, list[Profile]] = {}
        self._in_sql: dict[Path, Mapping[str, float | None] | None] = {}

    def profiles(self, place: Path) -> list[Profile]:
        """Return the profiles below a folder or in a baseline file; raises the errors of `profile.read`."""
        if place not in self._profiles:
            self._profiles[place] = profile.read(place)
        return self._profiles[place]

    def in_sql(self, folder: Path) -> Mapping[str, float | None] | None:
        """Return a run's figures computed in SQL from the times as they are on record.

        Returns None if the run has no measure phase, no deliveries, or workers with clocks of their own, whose times
        would need correction.
        """
        if folder not in self._in_sql:
            run = load(folder)
            window = run.measure
            known = window is not None and independent.applies_to(run)
            self._in_sql[folder] = independent.figures(run, window) if window is not None and known else None
        return self._in_sql[folder]


def read(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return the comparison in a file as data, and the HTML if the file is a page.

    Raises:
        ReadError: the file cannot be read, is not a comparison, or does not name its runs.
    """
    try:
        said = compared.read_text(path)
        written = None
        if said.lstrip()[:1] == "<":
            parser = _Meta()
            parser.feed(said)
            if parser.content is None:
                raise ReadError(
                    f"{path} is no page of `loadgen compare` that names its runs: an older version made it, or it is"
                    " another page; of a run's report.html name the run's folder"
                )
            said, written = parser.content, said
        found = compared.parsed(said)
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist") from None
    except DamagedError as error:
        raise ReadError(f"{path} {error}") from None
    if "metrics" not in found or "verdict" not in found:
        raise ReadError(
            f"{path} is no comparison: name a run's folder, a capacity-… folder, or what `loadgen compare --json` or"
            " `--html` has written"
        )
    if not all(isinstance(found.get(side), dict) for side in ("base", "new")):
        raise ReadError(f"{path} does not name its runs, as an older version made it: compare them again")
    return found, written


def verify(path: Path, runs: Runs | None = None) -> Verification:
    """Repeat a comparison from the runs that a file names, and compare the result with the file.

    ``runs`` caches the runs of other comparisons; they must not have changed since they were read.

    Raises:
        ReadError: the file cannot be read, is not a comparison, or its runs are not found.
    """
    said, written = read(path)
    runs = Runs() if runs is None else runs
    found = Verification(remedy="`loadgen compare` of the same runs")
    maker = maker_of(path.name, said, found)
    settings = _settings(path, said)
    (base, new), places = zip(
        *(_side(path, name, said[name], runs, found) for name in ("base", "new")), strict=True
    )
    differences = settings.differences(base.runs, new.runs)
    again = json.loads(json.dumps(content(base, new, settings, differences)))
    here, there = ({key: each[key] for key in each if key != "made_by"} for each in (again, said))
    compared.figures(path.name, here, there, maker, found, file=COMPARISON, tolerance=TOLERANCE)
    figures = [
        [_figures(place, run, runs, found) for run in side.runs]
        for side, place in zip((base, new), places, strict=True)
    ]
    kind = Design.of(base.runs, new.runs).kind
    for row in again["metrics"]:
        sides = [[run.get(row["metric"]) for run in side] for side in figures]
        known = [[value for value in side if value is not None and value > 0] for side in sides]
        if all(len(k) == len(s) for k, s in zip(known, sides, strict=True)):
            _metric(known[0], known[1], kind, settings, row, found)
    if written is not None:
        compared.words(
            f"{path.name}, its text",
            compared.page(page.render(base.runs, new.runs, differences, drawn=False)),
            compared.page(written),
            maker,
            found,
        )
    return found


def _settings(path: Path, said: Mapping[str, Any]) -> Settings:
    """Return the settings in a file, or raise ReadError if they are impossible."""
    names = ("min_effect", "confidence", "seed", "resamples")
    min_effect, confidence, seed, resamples = (said.get(name) for name in names)
    most = said.get("most")
    if said.get("format") != FORMAT:
        raise ReadError(f"{path} is not a comparison of format {FORMAT}: another version made it")
    if (
        isinstance(min_effect, int | float)
        and isinstance(confidence, int | float)
        and 0 < min_effect <= 1
        and 0 < confidence < 1
        and type(seed) is int
        and type(resamples) is int
        and seed >= 0
        and 2 <= resamples <= _RESAMPLES_MAX
        and (most is None or (type(most) is int and 2 <= most <= MOST_MAX))
    ):
        return Settings(min_effect, confidence, seed, resamples, most)
    raise ReadError(
        f"{path} does not say how it compared: {', '.join((*names, 'most'))} are not what they can be"
    )


def _side(
    path: Path, name: str, said: Mapping[str, Any], known: Runs, found: Verification
) -> tuple[Side, Path]:
    """Return the runs that the file lists for one side of the comparison, and the path at which they were found.

    Raises:
        ReadError: the file does not name the runs, or they are not found.
    """
    given, where, runs = said.get("path"), said.get("where"), said.get("runs")
    if not (isinstance(given, str) and isinstance(where, str) and isinstance(runs, list) and runs):
        raise ReadError(f"{path} does not say where the runs of {name} are")
    if any(
        not isinstance(run, dict)
        or not isinstance(run.get("run"), str)
        or type(run.get("created_ns")) is not int
        for run in runs
    ):
        raise ReadError(f"{path} does not name the runs of {name}")
    wanted = [(run["run"], run["created_ns"]) for run in runs]
    places = list(dict.fromkeys([Path(where), Path(given), path.parent / given]))
    problems = []
    for place in places:
        try:
            there = {(each.run, each.created_ns): each for each in known.profiles(place)}
        except ReadError as error:
            # One error message lists all paths that were tried, so its part for a path without runs is only "has none".
            damaged = "damaged record" in str(error)
            problems.append(text.clean(error) if damaged else f"{text.clean(place)} has none")
            continue
        except (OSError, ValueError):
            # A ValueError means that the name is impossible for a file.
            problems.append(f"{text.clean(place)} has none")
            continue
        except Exception as error:
            # The record may come from anywhere: anything in it may be missing, broken or of the wrong type.
            problems.append(f"{text.clean(place)} holds a damaged record ({type(error).__name__})")
            continue
        missing = [run for run in wanted if run not in there]
        if missing:
            problems.append(
                f"{text.clean(place)} lacks {compared.listed([text.clean(n) for n, _ in missing])}"
            )
            continue
        if len(there) > len(wanted):
            found.notes.append(
                f"{name}: {len(there) - len(wanted):,} of the {len(there):,} runs in {text.clean(place)} were not"
                " compared then, and are not now"
            )
        return Side(given, where, tuple(there[run] for run in wanted)), place
    raise ReadError(
        f"the runs of {name} are not where {path.name} says, nor beside it. Looked in: {'; '.join(problems)}"
    )


def _figures(place: Path, run: Profile, known: Runs, found: Verification) -> Mapping[str, float | None]:
    """Return a run's figures: from its tables in SQL if possible, else from its profile."""
    folder = place if (place / "manifest.json").exists() else place / run.run
    if not (folder / "manifest.json").exists():
        return run.figures
    in_sql = known.in_sql(folder)
    if in_sql is None:
        return run.figures
    figures = dict(run.figures)
    for metric, name in _IN_SQL.items():
        if name in in_sql:
            found.count("in SQL", 1)
            figures[metric] = value = in_sql[name]
            if not compared.agree(run.figures.get(metric), value, TOLERANCE):
                found.disagreements.append(
                    f"in SQL {metric} of {text.clean(run.run)} is {value}, and {run.figures.get(metric)} in the"
                    " comparison"
                )
    return figures


def _metric(
    base: Sequence[float],
    new: Sequence[float],
    kind: Kind,
    settings: Settings,
    row: Mapping[str, Any],
    found: Verification,
) -> None:
    """Check a metric's means, interval and verdict against scipy's mean and test."""
    from scipy import stats  # imported here: scipy takes half a second to load

    metric, low, high, verdict = (row[name] for name in ("metric", "low", "high", "verdict"))

    def disagrees(what: str, said: Any, right: str) -> None:
        found.disagreements.append(f"by scipy, {metric}: the {what} is {said}, and {right}")

    means = float(stats.gmean(base)), float(stats.gmean(new))
    change = means[1] / means[0] - 1
    for what, value in (("base", means[0]), ("new", means[1])):
        if not compared.agree(value, row[what], TOLERANCE):
            disagrees(what, row[what], f"the geometric mean is {value}")
    if row["change"] is None or abs(row["change"] - change) > _slack(change):
        disagrees("change", row["change"], f"the ratio of the means makes it {change}")
    found.count("by scipy", 3)
    if kind in (Kind.SINGLE, Kind.FEW) or low is None or high is None:
        return
    # A comparison's interval is at least as wide as that of scipy's test. So the verdict may be better or worse only if
    # scipy's test finds the change significant.
    logs = np.log(base), np.log(new)
    if kind is Kind.PAIRS:
        if np.ptp(logs[1] - logs[0]) == 0:
            return
        test = stats.ttest_rel(logs[1], logs[0])
        pvalue, interval = test.pvalue, test.confidence_interval(settings.confidence)
    elif np.ptp(logs[0]) == 0 and np.ptp(logs[1]) == 0:
        return
    elif min(len(base), len(new)) == 1:
        # scipy has no test of one value against several, so compute the prediction interval from Student's
        # distribution.
        one, many = (logs[0], logs[1]) if len(base) == 1 else (logs[1], logs[0])
        error = float(stats.sem(many)) * math.sqrt(1 + len(many))
        student = stats.t(len(many) - 1, loc=float(logs[1].mean() - logs[0].mean()), scale=error)
        pvalue = 2 * float(stats.t.sf(abs(one.mean() - many.mean()) / error, len(many) - 1))
        interval = student.interval(settings.confidence)
    else:
        test = stats.ttest_ind(logs[1], logs[0], equal_var=kind is Kind.BASELINE)
        pvalue, interval = test.pvalue, test.confidence_interval(settings.confidence)
    least, most = (math.expm1(end) for end in interval)
    found.count("by scipy", 3)
    if low > least + _slack(least) or high < most - _slack(most):
        disagrees("interval", f"{low} … {high}", f"it cannot be narrower than {least} … {most}")
    worse = (change > 0) == (profile.METRICS[metric][2] > 0)
    possible = abs(math.log1p(change)) > math.log1p(settings.min_effect) and pvalue <= 1 - settings.confidence
    if verdict in (BETTER, WORSE) and (not possible or (verdict == WORSE) != worse):
        disagrees("verdict", verdict, f"the change is {change:+.3%} with p = {pvalue:.2g}")
    if verdict == SAME and not (-settings.min_effect < least and most < settings.min_effect):
        disagrees("verdict", verdict, f"the interval is {least:+.3%} … {most:+.3%} at least")


def _slack(value: float) -> float:
    """Return the absolute tolerance for a change (a ratio minus one); `TOLERANCE` is relative to the ratio."""
    return TOLERANCE * (1 + abs(value))


class _Meta(HTMLParser):
    """Parser that finds the comparison that a page holds as data."""

    def __init__(self) -> None:
        super().__init__()
        self.content: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "meta" and said.get("name") == page.META:
            self.content = said.get("content")
