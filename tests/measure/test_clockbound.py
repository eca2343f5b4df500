"""Test reading ClockBound's shared memory, from files with the documented layout; not tested on AWS."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.clockbound import LAYOUT, MAGIC, Bound, bound

SECOND_NS = 1_000_000_000
NOW_NS = 5_000 * SECOND_NS + 17


def segment(
    *,
    magic: tuple[int, int] = MAGIC,
    version: int = 2,
    generation: int = 10,
    size: int = 80,
    as_of_ns: int = NOW_NS - SECOND_NS,
    void_after_ns: int = NOW_NS + 1_000 * SECOND_NS,
    bound_ns: int = 40_000,
    drift_ppb: int = 50_000,
    status: int = 1,
) -> bytes:
    return LAYOUT.pack(
        *magic, size, version, generation, *divmod(as_of_ns, SECOND_NS), *divmod(void_after_ns, SECOND_NS),
        bound_ns, 0, drift_ppb, status, 1,
    )  # fmt: skip


def read(path: Path, data: bytes, now_ns: int = NOW_NS) -> Bound | None:
    path.write_bytes(data)
    return bound(path, lambda: now_ns)


def test_the_layout_is_the_documented_one() -> None:
    # The offsets of the fields, in bytes, from docs/PROTOCOL.md of github.com/aws/clock-bound.
    data = segment(bound_ns=0x1122334455667788, drift_ppb=0xAABBCCDD, status=2)
    order: Any = sys.byteorder
    assert len(data) == 80
    assert int.from_bytes(data[12:14], order) == 2
    assert int.from_bytes(data[14:16], order) == 10
    assert int.from_bytes(data[16:24], order) == 4999
    assert int.from_bytes(data[32:40], order) == 6000
    assert int.from_bytes(data[48:56], order) == 0x1122334455667788
    assert int.from_bytes(data[64:68], order) == 0xAABBCCDD
    assert int.from_bytes(data[68:72], order) == 2
    # The magic number is two native 32-bit words, as in the daemon's own tests of the header.
    assert data[:8] == (0x414D5A4E).to_bytes(4, order) + (0x43420200).to_bytes(4, order)


def test_the_bound_grows_by_the_largest_drift(tmp_path: Path) -> None:
    # In one second at 50 ppm the bound grows by 50 µs.
    assert read(tmp_path / "shm0", segment()) == Bound(90_000, "synchronized")
    assert read(tmp_path / "shm0", segment(as_of_ns=NOW_NS)) == Bound(40_000, "synchronized")
    # In one nanosecond the bound grows by a fraction of a nanosecond, which is rounded up to 1 ns.
    assert read(tmp_path / "shm0", segment(as_of_ns=NOW_NS - 1)) == Bound(40_001, "synchronized")


def test_a_status_holds_five_seconds_and_the_bound_until_it_is_void(tmp_path: Path) -> None:
    path, at = tmp_path / "shm0", NOW_NS - SECOND_NS
    assert read(path, segment(), at + 5 * SECOND_NS - 1) == Bound(290_000, "synchronized")
    assert read(path, segment(), at + 5 * SECOND_NS) == Bound(290_000, "free running")
    assert read(path, segment(void_after_ns=at + 9 * SECOND_NS), at + 9 * SECOND_NS) == Bound(None, "unknown")
    assert read(path, segment(status=2)) == Bound(90_000, "free running")


@pytest.mark.parametrize("status", [0, 3, 4, -1])
def test_where_the_daemon_does_not_vouch_there_is_no_bound(status: int, tmp_path: Path) -> None:
    said = "disrupted" if status == 3 else "unknown"
    assert read(tmp_path / "shm0", segment(status=status)) == Bound(None, said)


def test_a_file_of_another_boot_is_no_bound(tmp_path: Path) -> None:
    assert read(tmp_path / "shm0", segment(as_of_ns=NOW_NS + 1_000)) == Bound(40_000, "synchronized")
    assert read(tmp_path / "shm0", segment(as_of_ns=NOW_NS + 1_001)) == Bound(None, "unknown")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        segment()[:79],
        segment(magic=(0, 0)),
        segment(version=1),
        segment(version=3),
        segment(generation=0),
        segment(generation=11),
        segment(size=16),
    ],
    ids=["empty", "short", "magic", "version 1", "version 3", "not begun", "being written", "size"],
)
def test_what_is_no_daemons_is_none(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "shm0", data) is None


def test_no_daemon_is_none(tmp_path: Path) -> None:
    assert bound(tmp_path / "nothing") is None
    assert bound(tmp_path) is None


@pytest.mark.parametrize("data", [segment(bound_ns=-1), segment(drift_ppb=SECOND_NS)], ids=["bound", "drift"])
def test_a_bound_that_is_none_is_not_believed(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "shm0", data) == Bound(None, "unknown")


def test_an_update_between_two_reads_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shm0"
    path.write_bytes(segment())
    torn = segment(bound_ns=1)[:52] + segment(bound_ns=2**62)[52:]
    new = segment(generation=12, bound_ns=77, as_of_ns=NOW_NS)
    reads = iter([segment(), torn[:14] + (11).to_bytes(2, sys.byteorder) + torn[16:], new, new])
    monkeypatch.setattr("loadgen.measure.clockbound.os.pread", lambda *_: next(reads))
    assert bound(path, lambda: NOW_NS) == Bound(77, "synchronized")


def test_the_environment_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own"
    now_ns = time.monotonic_ns()
    path.write_bytes(segment(as_of_ns=now_ns, void_after_ns=now_ns + 60 * SECOND_NS, drift_ppb=0))
    monkeypatch.setenv("LOADGEN_CLOCKBOUND", str(path))
    assert bound() == Bound(40_000, "synchronized")


@given(st.binary(max_size=120))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    found = read(path, data)
    assert found is None or found.error_ns is None or found.error_ns >= 0


@given(
    bound_ns=st.integers(0, 10**9),
    drift_ppb=st.integers(0, 10**9 - 1),
    since_ns=st.integers(0, 4 * SECOND_NS),
)
def test_the_pypi_package_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, bound_ns: int, drift_ppb: int, since_ns: int
) -> None:
    """Compare with the package `clockbound`, which needs Python 3.13 (or its folder on the path).

    The package rounds the growth of the bound down, and this code rounds it up.
    """
    package: Any = pytest.importorskip("clockbound")
    path = tmp_path_factory.getbasetemp() / "both"
    data = segment(bound_ns=bound_ns, drift_ppb=drift_ppb, as_of_ns=NOW_NS - since_ns)
    found = read(path, data)
    reader = package.Clockbound(str(path))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "clock_gettime_ns", lambda _: NOW_NS)
            theirs = reader.now().error_ns
    finally:
        reader.close()
    assert found is not None
    assert found.error_ns is not None
    assert 0 <= found.error_ns - theirs <= 1
