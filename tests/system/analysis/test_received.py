"""Test opening a run from somebody else: files that are damaged, too large or of wrong types are refused.

The refusal is one sentence and exit code 2, in bounded memory, as docs/received-runs.md promises.
"""

import copy
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import analysis
from analysis.loading.run import ReadError, codes
from analysis.record import schemas, tables
from analysis.report.page import render
from loadgen.cli import verify as verify_command  # noqa: F401
from loadgen.cli.app import app
from tests.paths import REPO
from tests.system.harness import STUCK_S, loadgen

SAMPLE = REPO / "results" / "sample"
MANIFEST: dict[str, Any] = json.loads((SAMPLE / "manifest.json").read_text())
#: Add members that the manifest of a newer run has and the sample run's manifest lacks.
MANIFEST["workers"][0] |= {
    "address": "127.0.0.1", "weight": 1.0, "clients": 70, "subscriptions": 60, "left": None, "probes": 1,
    "probe_deliveries": 1, "rows": {"events": 600}, "deviations": {"odd": 1}, "gathered_by": "shared folder",
    "checks": {"mine": {"passed": 1, "failed": 0}},
    "failures": [{"kind": "harness", "where": "x", "message": "y", "count": 1, "first_ns": 1}],
    "undecodable_kinds": [{"kind": "x", "count": 1, "example": "y"}],
    "broken_connections": [
        {
            "error": "x", "connection": 1, "life": 0,
            "messages": [{"sent": True, "before_ns": 1, "size_bytes": 2, "text": "y"}],
        }
    ],
}  # fmt: skip
MANIFEST |= {
    "offered": [{"group": "commenters", "events_per_s": 50.0, "points": [[0, 1.0], [5_000_000_000, 2.0]]}],
    "late_workers": [{"worker": 1, "hostname": "h", "address": "a", "at_ns": 1, "phase": "measure"}],
    "checks": {"mine": {"passed": 1, "failed": 0}},
    "failures": [],
    "prices": {
        "service": "AWS AppSync Events", "region": "us-east-1", "as_of": "2026-11-01", "certainty": "documented",
        "usd_per_million_operations": 1.0, "usd_per_million_connection_minutes": 0.08, "usd_per_gb_out": 0.09,
        "message_unit_bytes": 5120, "keepalive_interval_s": 60,
        "counts": dict.fromkeys(("publish", "delivery", "connect", "subscribe", "handler", "keepalive"), "always"),
    },
}  # fmt: skip
MANIFEST["scenario"]["gates"] = ["delivery.latency.p99 < 20s", {"check": "delivery.loss == 0", "over": "1s"}]
MANIFEST["target"] |= {
    "protocol": "appsync-events",
    "service": "s",
    "url": "u",
    "loopback": True,
    "setup": {"a": "b"},
}
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e300, 1 << 70, -(1 << 70), "", "x", "\x1b[2J", [], [None], [[]], {}, {"x": 1},
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, below in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(below, (*at, key))


PLACES = list(places(MANIFEST))[1:]


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("received") / "run"))


def replaced(at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(MANIFEST)
    node: Any = made
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = value
    return made


def opened(folder: Path, manifest: Any) -> str | None:
    """Open a run as `loadgen report` does; return the error message if the run is refused, or None."""
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        run = analysis.load(folder)
        json.dumps(analysis.summarise(run), allow_nan=False)
    except ReadError as error:
        return str(error)
    return None


def test_the_manifest_as_it_is_can_be_read(received: Path) -> None:
    assert opened(received, MANIFEST) is None


@given(st.sampled_from(PLACES), st.sampled_from(WRONG))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_a_manifest_may_be_of_another_type(
    received: Path, at: tuple[Any, ...], value: Any
) -> None:
    said = opened(received, replaced(at, value))
    assert said is None or (len(said.splitlines()) == 1 and said.startswith(str(received)))


@given(st.sampled_from(PLACES))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_key_of_a_manifest_may_be_missing(received: Path, at: tuple[Any, ...]) -> None:
    made = copy.deepcopy(MANIFEST)
    node: Any = made
    for key in at[:-1]:
        node = node[key]
    del node[at[-1]]
    said = opened(received, made)
    assert said is None or said.startswith(str(received))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no readable manifest.json"),
        ("[" * 100_000, "no readable manifest.json"),
        ('{"format": NaN}', "no readable manifest.json"),
        ("null", "names no format"),
        ('{"format": 99}', "is a record of format 99"),
        ('{"format": true}', "names no format"),
    ],
)
def test_what_is_no_manifest_is_a_sentence(received: Path, text: str, said: str) -> None:
    (received / "manifest.json").write_text(text)
    with pytest.raises(ReadError, match=said):
        analysis.load(received)


def test_a_manifest_of_a_hundred_years_or_megabytes_is_refused(received: Path) -> None:
    phases = [{"name": "measure", "start_ns": 0, "end_ns": 4_000_000_000_000_000_000}]
    assert "last longer than 31 days" in (opened(received, MANIFEST | {"phases": phases}) or "")
    twice = [MANIFEST["workers"][0]] * 2
    assert "names the worker '0' twice" in (opened(received, MANIFEST | {"workers": twice}) or "")
    with (received / "manifest.json").open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ReadError, match="larger than 64 MiB"):
        analysis.load(received)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "run"))


#: Names of the tables in the sample.
_TABLES = sorted(name for name in schemas.TABLES if (SAMPLE / f"{name}.parquet").is_file())


@given(st.sampled_from(_TABLES), st.integers(0, 3_000), st.binary(max_size=8))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_torn_and_overwritten_tables_are_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: int, over: bytes
) -> None:
    made = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("torn") / "run"))
    path = made / f"{name}.parquet"
    content = path.read_bytes()
    at = min(at, len(content))
    path.write_bytes(content[:at] + over + content[at + len(over) :] if over else content[:at])
    said = ""
    try:
        analysis.summarise(analysis.load(made))
    except ReadError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@pytest.mark.parametrize("kind", [pa.string(), pa.float64(), pa.bool_(), pa.list_(pa.int64())])
def test_another_type_of_column_is_named(folder: Path, kind: pa.DataType) -> None:
    path = folder / "deliveries.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("arrival_ns")
    pq.write_table(table.set_column(place, "arrival_ns", pa.nulls(len(table), kind)), path)
    with pytest.raises(
        ReadError, match=r"arrival_ns holds .* where whole numbers belong|that no run's table has"
    ):
        analysis.load(folder)


def bomb(path: Path, rows: int, group_rows: int = 1_000_000) -> None:
    """Write a table whose rows are all equal, which takes little space on disk."""
    names = list(schemas.integers(path.stem))
    alike = pa.array(np.zeros(group_rows, dtype=np.int64))
    group = pa.table(dict.fromkeys(names, alike))
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(rows // group_rows):
            writer.write_table(group, row_group_size=group_rows)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_in_bounded_memory(folder: Path) -> None:
    bomb(folder / "health.parquet", 4_000_000)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 8_000_000

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))

    for command in ("summary", "finish"):
        done = subprocess.run(
            [sys.executable, "-m", "analysis", command, str(folder)],
            capture_output=True, text=True, preexec_fn=bounded, check=False,
            cwd=REPO, timeout=STUCK_S,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "GiB from" in done.stderr
        assert "no run packs so tightly" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_one_row_group_of_everything_is_refused_and_many_are_not(folder: Path) -> None:
    bomb(folder / "deliveries.parquet", 5_000_000, 5_000_000)
    with pytest.raises(ReadError, match=r"no run packs so tightly|rows in one row group"):
        analysis.load(folder)
    # A long run's table has many row groups of a million rows, and may be larger than the memory. It is accepted
    # if the columns that are read fit into the memory.
    rng = np.random.default_rng(1)
    names = list(schemas.integers("deliveries"))
    group = pa.table({name: pa.array(rng.integers(0, 1 << 62, 200_000)) for name in names})
    with pq.ParquetWriter(folder / "deliveries.parquet", group.schema) as writer:
        for _ in range(5):
            writer.write_table(group)
    tables.check(folder, free_bytes=150_000_000)
    with pytest.raises(
        tables.TableError, match=r"needs about .* MiB of memory to be read, and 50\.0 MiB are free"
    ):
        tables.check(folder, free_bytes=50 << 20)


def test_a_long_text_is_kept_once(folder: Path) -> None:
    path = folder / "events.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("channel")
    long = pa.array(["/default/" + "x" * 1_000_000])
    for column in (long.take(pa.array(np.zeros(len(table), dtype=np.int32))),):
        pq.write_table(table.set_column(place, "channel", column), path, compression="zstd")
    read = analysis.load(folder).table("events", ("channel",))
    numbers, named = codes(read, "channel")
    assert read.nbytes < 3_000_000
    assert (set(numbers.tolist()), len(named), len(named[0] or "")) == ({0}, 1, 1_000_009)


def test_codes_are_numbered_by_their_first_row(folder: Path) -> None:
    plain = pa.chunked_array([["b", None, "a"], ["b", "c"]])
    coded = pa.chunked_array([chunk.dictionary_encode() for chunk in plain.chunks])
    unused = pa.chunked_array([pa.DictionaryArray.from_arrays([2, None, 1], ["z", "a", "b"])])
    for values in (plain, coded):
        numbers, named = codes(pa.table({"x": values}), "x")
        assert ([named[number] for number in numbers], named) == (plain.to_pylist(), ["b", None, "a", "c"])
    assert codes(pa.table({"x": unused}), "x")[1] == ["b", None, "a"]
    assert codes(pa.table({"x": coded.slice(0, 0)}), "x")[1] == []


@pytest.mark.parametrize("name", ["a*b", "a?b", "a[bc]d", "it's", "a\x1b[2Jb"])
def test_a_folder_s_name_is_a_name_and_no_pattern(tmp_path: Path, name: str) -> None:
    # If the run folder's name were used as a glob pattern, it would match these other folders as well.
    for other in ("aXb", "abd"):
        (tmp_path / other).mkdir()
        shutil.copy(SAMPLE / "clock.parquet", tmp_path / other / "deliveries.parquet")
    folder = shutil.copytree(SAMPLE, tmp_path / name)
    told = CliRunner().invoke(app, ["verify", str(folder)])
    # A real process filters control characters out of its output, but `CliRunner` bypasses this filter. So this output
    # shows that the command itself prints none.
    code, said = told.exit_code, told.output
    assert code == 0, said
    assert "in SQL" in said
    assert "\x1b" not in said


def test_a_table_that_is_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "events.parquet").unlink()
    os.mkfifo(folder / "events.parquet")
    done = loadgen("report", str(folder), timeout_s=STUCK_S)
    assert done.code == 2
    assert "events.parquet is not a regular file" in done.err


def test_foreign_text_is_escaped_in_the_report(folder: Path) -> None:
    evil = "<img src=x onerror=alert(1)>{{7*7}}\x1b[2J"
    manifest = copy.deepcopy(MANIFEST)
    manifest["scenario"]["name"] = manifest["scenario"]["description"] = manifest["reason"] = evil
    manifest["target"] |= {"url": evil, "service": evil, "setup": {evil: evil}, "faults": {evil: evil}}
    manifest["workers"][0] |= {"hostname": evil, "deviations": {evil: 1}, "left": evil}
    manifest["workers"][0]["failures"][0] |= {"where": evil, "message": evil}
    manifest["workers"][0]["checks"] = {evil: {"passed": 0, "failed": 1}}
    manifest["run"] = evil
    (folder / "manifest.json").write_text(json.dumps(manifest))
    table = pq.read_table(folder / "subscriptions.parquet")
    for column in ("channel", "group", "error"):
        values = pa.array([evil] * len(table)).dictionary_encode()
        table = table.set_column(table.column_names.index(column), column, values)
    pq.write_table(table, folder / "subscriptions.parquet")
    run = analysis.load(folder)
    page = render(run, analysis.summarise(run))
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert "49" not in page.partition("onerror=alert(1)&gt;")[2][:10]
    assert "\x1b" not in page
