"""The run folder, created when a run begins and completed from the spool when the run ends, even after a failure.

The spool holds the workers' rows on disk during the run (`loadgen.measure.spool`).
"""

import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

from analysis.record import files, home, making, parts
from analysis.record.home import AwayError
from analysis.record.places import Place
from analysis.record.schemas import TABLES, spool_name
from analysis.record.storage import Storage, StorageError
from loadgen.exits import ExitCode, RunError, why
from loadgen.measure import histograms
from loadgen.measure.clock import boot_id
from loadgen.measure.spool import MARKER
from loadgen.run.gathering import Gathered, GatheredParts
from loadgen.run.placement import Placement
from loadgen.version import VERSION

FORMAT = 3
PHASES = ("ramp", "ready", "warmup", "measure", "drain")
_PACKAGES = (
    "locust",
    "gevent",
    "websockets",
    "geventhttpclient",
    "msgspec",
    "pandas",
    "pyarrow",
    "numpy",
)


@dataclass
class Manifest:
    """`manifest.json`; see results/README.md."""

    run: str
    token: int
    scenario: dict[str, Any]
    target: dict[str, Any]
    created_ns: int
    late_after_ns: int | None = None
    offered: list[dict[str, Any]] = field(default_factory=list)
    #: The groups whose clients ran the tasks of user classes: see `offered.journeys`.
    journeys: list[dict[str, Any]] = field(default_factory=list)
    #: Prices of the service at the time of the run: `planning.prices.Prices.snapshot`.
    prices: dict[str, Any] | None = None
    status: str = "running"
    exit_code: int | None = None
    reason: str | None = None
    workers: list[dict[str, Any]] = field(default_factory=list)
    #: Workers that came after the run had begun and took no part.
    late_workers: list[dict[str, Any]] = field(default_factory=list)
    #: Connections refused at the master's port, and rejected messages: see `runners.refused`.
    refused: dict[str, Any] | None = None
    #: The `failures` and `checks` of the master's own process, in the same form as in a worker's entry.
    failures: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Pauses of the master's process; empty if a worker ran in it, since the worker reports them then.
    pauses: list[dict[str, int]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    negative: dict[str, int] = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)
    #: Where workers stored their rows, and what lies there: `analysis.record.parts.Parts`.
    parts: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    #: Number of processes in the master's container that the kernel killed for lack of memory, or None if unknown.
    oom_kills: int | None = None
    format: int = FORMAT

    def begin_phase(self, name: str, at_ns: int) -> None:
        """Note that a phase began and the previous one ended."""
        self.end_phase(at_ns)
        self.phases.append({"name": name, "start_ns": at_ns, "end_ns": None})

    def end_phase(self, at_ns: int) -> None:
        """Note that the running phase ended."""
        if self.phases and self.phases[-1]["end_ns"] is None:
            self.phases[-1]["end_ns"] = at_ns


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        #: True if all rows of this record, which is complete, are in the storage too.
        self._all_stored = False

    @classmethod
    def create(
        cls,
        place: Placement,
        scenario: dict[str, Any],
        target: dict[str, Any],
        token: int,
        now_ns: int,
        storage: Place | None = None,
    ) -> "RunFolder":
        """Create the folder with its manifest and an empty spool; workers store their rows in ``storage``, if given.

        Raises:
            RunError: the folder cannot be written (exit code 2), or the storage cannot (exit code 3).
        """
        # The time in the folder's name is in UTC and marked with Z, like all times that a run writes.
        stamp = datetime.fromtimestamp(now_ns // 1_000_000_000, tz=UTC).strftime("%Y%m%d-%H%M%SZ")
        base = f"{stamp}-{scenario['name']}"
        manifest = Manifest(base, token, scenario, target, now_ns, versions=_versions(), host=_host())
        folder = cls(place.make(), manifest)
        try:
            folder.spool.mkdir()
            (folder.spool / MARKER).write_text(str(token))
            folder.path = place.settle(folder.path, base, partial(folder._rename, storage))
        except OSError as error:
            raise place.unwritable(error) from None
        except StorageError as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            assert storage is not None
            raise RunError(
                f"--spool-to: {storage.uri} cannot be written: {error}", ExitCode.INCONCLUSIVE
            ) from None
        return folder

    def _rename(self, storage: Place | None, name: str) -> None:
        self.manifest.run = name
        if storage is not None:
            run = parts.run_name(name, self.manifest.token)
            told = {"run": name, "created_ns": self.manifest.created_ns}
            Storage(storage).write((run,), parts.BEGUN, json.dumps(told).encode() + b"\n")
            self.manifest.parts = msgspec.to_builtins(parts.Parts(uri=storage.uri, run=run))
        self.save()

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run whose process has ended.

        Raises:
            RunError: the manifest cannot be read, or the spool holds unexpected entries; exit code 2.
        """
        _refuse_odd_spool(path)
        try:
            return cls(path.resolve(), Manifest(**json.loads((path / "manifest.json").read_text())))
        except (OSError, ValueError, TypeError):
            raise RunError(
                f"{path} is not a run's folder that this version can read", ExitCode.USAGE
            ) from None

    @property
    def spool(self) -> Path:
        """Folder of the workers' spool files."""
        return self.path / "spool"

    def save(self) -> None:
        """Write the manifest atomically."""
        files.replace(self.path / "manifest.json", json.dumps(vars(self.manifest), indent=1) + "\n")

    @property
    def incomplete(self) -> bool:
        """True if the spool has not been turned into tables yet."""
        return self.spool.exists()

    @property
    def running(self) -> int | None:
        """Process id of a worker on this machine that still writes to the record, or None if there is none."""
        if self.manifest.status != "running" or self.manifest.host.get("boot_id") != boot_id():
            return None
        for entry in self.manifest.workers:
            if entry.get("boot_id") == boot_id() and _is_ours(entry["pid"]):
                return int(entry["pid"])
        return None

    def broke_off(self, how: str) -> None:
        """Note in the manifest that the run ended abruptly; ``how`` begins the sentence that gives the reason."""
        self.manifest.status, self.manifest.exit_code = "failed", int(ExitCode.INCONCLUSIVE)
        phase = self.manifest.phases[-1]["name"] if self.manifest.phases else "before the ramp"
        self.manifest.reason = f"{how} (last phase: {phase}); what was recorded until then is kept"

    def complete(self) -> None:
        """Turn the spool into the record's tables, save the manifest and remove the spool.

        After a failure it may be called again: the spool stays until everything is written. If rows of a finished
        worker are missing, the run's exit code changes from passed to inconclusive.

        Raises:
            RunError: the tables cannot be written; exit code 3.
        """
        try:
            self._complete()
        except OSError as error:
            raise RunError(
                f"the record could not be completed ({why(error)}): make room, then run"
                f" `loadgen report {self.path}`; what was recorded is in its spool folder",
                ExitCode.INCONCLUSIVE,
            ) from None
        except StorageError as error:
            uri, where = self._stored_at()
            raise RunError(
                f"the record could not be completed: the workers' rows in {where} cannot be read ({error}): once they"
                f" can, run `loadgen report {self.path} --parts-from {uri}`",
                ExitCode.INCONCLUSIVE,
            ) from None
        except AwayError as error:
            raise RunError(str(error), ExitCode.USAGE) from None

    def _complete(self) -> None:
        gathered = self._gathered()
        making.write_tables(self.path, gathered.batches)
        self._write_histograms(gathered)
        self._check_rows(gathered)
        if isinstance(gathered, GatheredParts) and self.manifest.parts is not None:
            # The parts may have been moved since the run, to the place that the user has named.
            self.manifest.parts["uri"] = gathered.uri
            self.manifest.parts["streams"] = msgspec.to_builtins(gathered.streams())
            self._all_stored = gathered.all_stored
        self.save()
        shutil.rmtree(self.spool, ignore_errors=True)

    def _gathered(self) -> Gathered:
        if self.manifest.parts is None:
            return Gathered(self.spool, self.manifest.workers)
        found = self._parts()
        storage = home.storage_of(self.path, found)
        return GatheredParts(self.spool, self.manifest.workers, storage, found.run)

    def _parts(self) -> parts.Parts:
        """Return the manifest's `parts`, which it must have; raises AwayError if they are not valid."""
        found = home.parts_of(self.path, vars(self.manifest))
        assert found is not None
        return found

    def _stored_at(self) -> tuple[str, str]:
        """Return how sentences name the place where workers stored their rows, and the run's folder there."""
        found = self._parts()
        uri = home.shown(found)
        return uri, f"{uri}/{found.run}"

    def leave_rows_in_storage(self) -> str | None:
        """Remove the tables of a complete record if all their rows are in the storage.

        Returns a sentence on where the rows are, or None if no worker stored any. A table that cannot be removed stays
        and does no harm.
        """
        if self.manifest.parts is None:
            return None
        uri, where = self._stored_at()
        if not self._all_stored:
            return f"not all rows are in {where}, so the run's folder keeps its tables"
        with suppress(OSError):
            self.manifest.parts["away"] = True
            self.save()
            for table in TABLES:
                (self.path / f"{table}.parquet").unlink(missing_ok=True)
        return f"the rows are in {where}: `loadgen fetch {self.path} --parts-from {uri}` brings them home"

    def rows_are_here(self) -> None:
        """Note that the record's tables are in its folder; raises OSError if that fails."""
        if self.manifest.parts is not None:
            self.manifest.parts["away"] = False
            self.save()

    def _check_rows(self, gathered: Gathered) -> None:
        """Compare the rows found with those that each worker reported; if some are missing, the run has not passed."""
        for entry in self.manifest.workers:
            if not entry["finished"] or self.manifest.exit_code != ExitCode.PASSED:
                continue
            unlike = None
            if isinstance(gathered, GatheredParts):
                unlike = gathered.unlike(entry["worker"], entry.get("stored") or {})
            if unlike is not None:
                unlike = f"{unlike} in {self._stored_at()[1]}"
            whole = _rows_missing(entry, gathered.rows)
            if unlike is not None or whole is not None:
                said = "; ".join(each for each in (unlike, whole) if each is not None)
                self.manifest.status, self.manifest.exit_code = "failed", int(ExitCode.INCONCLUSIVE)
                self.manifest.reason = f"the record of worker {entry['worker']} is not whole: {said}"

    def _write_histograms(self, gathered: Gathered) -> None:
        rows: list[dict[str, Any]] = []
        for batch in gathered.batches("histograms"):
            rows.extend(batch.to_pylist())
        rows.sort(key=lambda row: (row["start_ns"], row["tag"]))
        comment = f"run {self.manifest.run}; values in ns"
        with (
            files.replacing(self.path / "histograms.hlog") as temporary,
            histograms.HistogramLog(temporary, self.manifest.created_ns, comment) as log,
        ):
            for row in rows:
                log.write(row["tag"], row["start_ns"], row["end_ns"], row["encoded"], row["highest"])
                for counts, kind in ((self.manifest.negative, "negative"), (self.manifest.beyond, "beyond")):
                    if row[kind]:
                        counts[row["tag"]] = counts.get(row["tag"], 0) + row[kind]


def _refuse_odd_spool(path: Path) -> None:
    """Raise RunError if the spool or manifest is a link, or anything else that a run does not leave.

    A link could make this process read or remove other files.
    """
    spool = path / "spool"
    for entry in (spool, *(sorted(spool.iterdir()) if spool.is_dir() else ())):
        if entry.is_symlink() or not (entry.is_file() or entry == spool):
            raise RunError(
                f"{str(entry)!a} is a link or no file, which a run does not leave in its spool: remove it, if you"
                " trust the rest",
                ExitCode.USAGE,
            )
    if (spool.exists() and not spool.is_dir()) or (found := files.trouble(path / "manifest.json")):
        what = "spool is not a folder" if spool.exists() and not spool.is_dir() else f"manifest.json {found}"
        raise RunError(f"{path} is not a run's folder that this version can read: its {what}", ExitCode.USAGE)


def _is_ours(pid: int) -> bool:
    try:
        arguments = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any("locust" in argument or "loadgen" in argument for argument in arguments)


def _rows_missing(entry: Mapping[str, Any], here: Mapping[str, int]) -> str | None:
    """Return which rows of a worker are missing, or None; ``here`` counts the rows of each stream."""
    for table, written in entry.get("rows", {}).items():
        found = here.get(spool_name(table, entry["worker"]), 0)
        if found != written:
            return f"{found:,} of {written:,} rows of {table}"
    return None


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "loadgen": VERSION,
        **{name: version for name in _PACKAGES if (version := _version_of(name)) is not None},
    }


def _version_of(package: str) -> str | None:
    """Return a package's version, or None if it is not installed: packages of an optional extra may be missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _host() -> dict[str, Any]:
    return {
        "hostname": socket.gethostname(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "platform": sys.platform,
        "machine": platform.machine(),
        "boot_id": boot_id(),
    }
