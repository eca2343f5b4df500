"""Test limits and throttling with simulated system files; tests/system uses real cgroups."""

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.surroundings import Around, Surroundings, ethtool, limits, parsing, sampler
from loadgen.measure.surroundings.cgroups import Mount, find, parse_memberships, parse_mounts
from loadgen.measure.surroundings.limits import Allowed
from loadgen.planning.room import restrained

# The following tests find the cgroups of a process.

V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
SLICE = "/kubepods.slice/pod1.slice/cri-abc.scope"


def made(base: Path, *folders: str) -> Path:
    for folder in folders:
        place = base / folder.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text("")
    return base


def shown(base: Path, folders: tuple[Path, ...]) -> list[str]:
    return [f"/{folder.relative_to(base)}" for folder in folders]


def test_v2_has_the_folders_from_its_own_cgroup_up_to_the_mount(tmp_path: Path) -> None:
    point = "/sys/fs/cgroup"
    made(tmp_path, point, f"{point}/kubepods.slice", f"{point}/kubepods.slice/pod1.slice", f"{point}{SLICE}")
    groups = find(f"0::{SLICE}\n", V2, 1, tmp_path)
    assert groups.places["cpu"].version == 2
    assert shown(tmp_path, groups.places["cpu"].folders) == [
        f"{point}{SLICE}", f"{point}/kubepods.slice/pod1.slice", f"{point}/kubepods.slice", point,
    ]  # fmt: skip
    assert groups.unified == groups.places["memory"]


def test_in_a_cgroup_namespace_its_own_cgroup_is_the_top(tmp_path: Path) -> None:
    made(tmp_path, "/sys/fs/cgroup")
    assert shown(tmp_path, find("0::/\n", V2, 1, tmp_path).places["cpu"].folders) == ["/sys/fs/cgroup"]


def test_without_a_namespace_the_mount_shows_a_container_only_itself(tmp_path: Path) -> None:
    # In Docker with cgroup v1, both the process's path and the mount's root begin at the host's root.
    mounts = "40 30 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"
    made(tmp_path, "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/sub")
    groups = find("3:cpu,cpuacct:/docker/abc/sub\n", mounts, 1, tmp_path)
    assert shown(tmp_path, groups.places["cpu"].folders) == [
        "/sys/fs/cgroup/cpu,cpuacct/sub", "/sys/fs/cgroup/cpu,cpuacct",
    ]  # fmt: skip
    assert set(groups.places) == {"cpu", "cpuacct"}


def test_a_hierarchy_that_is_named_from_elsewhere_is_taken_where_it_lists_the_process(tmp_path: Path) -> None:
    mounts = "30 25 0:26 /../../other /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    made(tmp_path, "/sys/fs/cgroup")
    assert find("0::/\n", mounts, 77, tmp_path).unified is None
    (tmp_path / "sys/fs/cgroup/cgroup.procs").write_text("1\n77\n")
    unified = find("0::/\n", mounts, 77, tmp_path).unified
    assert unified is not None
    assert shown(tmp_path, unified.folders) == ["/sys/fs/cgroup"]


def test_a_hybrid_hierarchy_has_its_limits_in_v1_and_its_pressure_in_v2(tmp_path: Path) -> None:
    mounts = "\n".join(
        [
            "31 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
            "32 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            "33 1 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ]
    )
    made(tmp_path, "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified/a")
    groups = find("8:memory:/\n3:cpu:/a\n0::/a\n", mounts, 1, tmp_path)
    assert (groups.places["cpu"].version, groups.places["memory"].version) == (1, 1)
    # No hierarchy of cgroup v1 has the controller cpuset, so it is looked for in the hierarchy of v2.
    assert groups.places["cpuset"] == groups.unified
    assert groups.places["cpuset"].version == 2


def test_of_two_mounts_that_shows_more_counts(tmp_path: Path) -> None:
    mounts = "\n".join(
        [
            "31 1 0:1 /pod/me /inner rw - cgroup2 cgroup2 rw",
            "32 1 0:1 / /outer rw - cgroup2 cgroup2 rw",
        ]
    )
    made(tmp_path, "/inner", "/outer", "/outer/pod", "/outer/pod/me")
    unified = find("0::/pod/me\n", mounts, 1, tmp_path).unified
    assert unified is not None
    assert shown(tmp_path, unified.folders) == ["/outer/pod/me", "/outer/pod", "/outer"]


def test_a_system_without_cgroups_has_none() -> None:
    assert find("", "", 1).places == {}


NAMES = st.text(st.characters(exclude_characters="/\0\n", exclude_categories=["Cs"]), min_size=1, max_size=12)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def escaped(path: str) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in path)


@given(root=PATHS, point=PATHS, optional=st.lists(st.sampled_from(["shared:1", "master:2"]), max_size=2))
def test_paths_of_mountinfo_come_back_as_they_were(root: str, point: str, optional: list[str]) -> None:
    line = " ".join(["30 25 0:26", escaped(root), escaped(point), "rw", *optional, "- cgroup2 cgroup2 rw"])
    found = parse_mounts(line)
    # The kernel escapes only "\n" in a name, but Python splits lines at other characters too. Skip names with those.
    if len(line.splitlines()) == 1:
        assert found == [Mount(root, point, None)]


@given(st.text())
def test_no_text_of_proc_is_an_error(text: str) -> None:
    parse_mounts(text)
    parse_memberships(text)
    find(text, text, 1, Path("/nonexistent"))


# Reading.


@given(st.text())
def test_what_a_text_does_not_tell_is_none_and_never_an_error(text: str) -> None:
    for read in (
        parsing.number,
        parsing.memory_limit,
        parsing.quota_v2,
        parsing.pressure_ns,
        parsing.pressure_average,
    ):
        value = read(text)
        assert value is None or value >= 0
    parsing.keyed(text)
    parsing.cpu_list(text)
    parsing.steal_ns(text, {0, 1}, 10)


@given(quota=st.integers(1, 10**9), period=st.integers(1000, 10**6))
def test_a_quota_is_a_number_of_cores(quota: int, period: int) -> None:
    assert (
        parsing.quota_v2(f"{quota} {period}\n")
        == parsing.quota_v1(f"{quota}\n", f"{period}\n")
        == quota / period
    )


@pytest.mark.parametrize("text", [None, "", "max 100000", "max", "-1 100000", "5", "100 0", "1 2 3"])
def test_no_quota_is_none(text: str | None) -> None:
    assert parsing.quota_v2(text) is None


@given(st.sets(st.integers(0, 500)))
def test_a_list_of_cpus_comes_back(cpus: set[int]) -> None:
    ordered, parts, index = sorted(cpus), [], 0
    while index < len(ordered):
        end = index
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[index]) if end == index else f"{ordered[index]}-{ordered[end]}")
        index = end + 1
    assert parsing.cpu_list(",".join(parts) + "\n") == frozenset(cpus)


def test_pressure_and_steal() -> None:
    text = "some avg10=12.50 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0 avg300=0 total=9\n"
    assert (parsing.pressure_ns(text), parsing.pressure_average(text)) == (1_234_000, 0.125)
    assert parsing.pressure_ns("full avg10=0 total=9") is None
    stat = "cpu  9 9 9 9 9 9 9 99\ncpu0 1 1 1 1 1 1 1 10 0\ncpu1 1 1 1 1 1 1 1 30 0\nintr 5\n"
    assert parsing.steal_ns(stat, {0, 1}, 10_000_000) == 200_000_000
    assert parsing.steal_ns(stat, {1}, 10_000_000) == 300_000_000
    # The steal time is unknown if the kernel does not report it, or if there is no such CPU.
    assert parsing.steal_ns("cpu0 1 1 1 1\n", {0}, 1) is None
    assert parsing.steal_ns(stat, {7}, 1) is None


# The following tests sample simulated files.


class Machine:
    """A simulated `/proc` and cgroup v2."""

    def __init__(self, base: Path, path: str = "/pod/me") -> None:
        self.base, self.proc, self.top = base, base / "proc", base / "sys/fs/cgroup"
        made(base, "/sys/fs/cgroup", "/sys/fs/cgroup/pod", "/sys/fs/cgroup/pod/me")
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "pressure").mkdir()
        self.write(self.proc / "self/cgroup", f"0::{path}\n")
        self.write(self.proc / "self/mountinfo", V2 + "\n")

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.write_text(text)

    def own(self, name: str, text: str) -> None:
        self.write(self.top / "pod/me" / name, text)

    def above(self, name: str, text: str) -> None:
        self.write(self.top / "pod" / name, text)

    def surroundings(self) -> Surroundings:
        return Surroundings(self.proc, self.base, sampler.Allowances(lambda: None))


SECOND = 1_000_000_000


def stat(periods: int, throttled: int, us: int, usage: int = 0) -> str:
    return f"usage_usec {usage}\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec {us}\n"


def test_of_v2_the_tightest_quota_and_what_held_back_for_longest_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.own("cpu.max", "50000 100000\n")
    machine.above("cpu.max", "30000 100000\n")
    machine.own("cpu.stat", stat(10, 1, 1_000))
    machine.above("cpu.stat", stat(10, 5, 100_000, usage=70_000))
    around = machine.surroundings()
    machine.own("cpu.stat", stat(20, 2, 3_000))
    machine.above("cpu.stat", stat(20, 14, 740_000, usage=370_000))
    seen = around.take(SECOND)
    assert (seen.quota_ns, seen.allowed_ns) == (300_000_000, 300_000_000)
    assert (seen.quota_periods, seen.throttled_periods, seen.throttled_ns) == (10, 9, 640_000_000)
    assert seen.cgroup_cpu_ns == 300_000_000
    assert seen.cgroup == (machine.top / "pod").stat().st_ino


def test_of_v2_memory_limits_events_and_pressure(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.own("memory.max", "max\n")
    machine.own("memory.high", "900\n")
    machine.above("memory.max", "1000\n")
    machine.own("memory.current", "500\n")
    machine.own("memory.events", "low 0\nhigh 3\nmax 4\noom 0\noom_kill 0\noom_group_kill 0\n")
    machine.own("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
    machine.write(machine.proc / "pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7000\n")
    around = machine.surroundings()
    machine.own("memory.events", "low 0\nhigh 13\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n")
    machine.own("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1250\n")
    machine.write(machine.proc / "pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9000\n")
    seen = around.take(SECOND)
    assert (seen.memory_bytes, seen.memory_limit_bytes) == (500, 900)
    assert (seen.memory_high_events, seen.memory_max_events) == (10, 0)
    assert (seen.oom_events, seen.oom_kills) == (1, 1)
    assert (seen.pressure_memory_ns, seen.machine_pressure_memory_ns) == (250_000, 2_000_000)
    assert seen.pressure_cpu_ns is seen.machine_pressure_cpu_ns is None


@pytest.mark.parametrize("below", ["", "/sub"])
def test_of_v1_the_cpu_time_under_a_quota_is_in_another_hierarchy(tmp_path: Path, below: str) -> None:
    machine = Machine(tmp_path, "/")
    machine.write(machine.proc / "self/cgroup", f"3:cpuacct:/pod{below}\n2:cpu:/pod{below}\n")
    machine.write(
        machine.proc / "self/mountinfo",
        "31 1 0:1 /pod /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
        "32 1 0:2 /pod /sys/fs/cgroup/cpuacct ro - cgroup cgroup rw,cpuacct\n",
    )
    made(tmp_path, f"/sys/fs/cgroup/cpu{below}", f"/sys/fs/cgroup/cpuacct{below}")
    made(tmp_path, "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct")
    machine.write(machine.top / f"cpu{below}/cpu.cfs_quota_us", "30000\n")
    machine.write(machine.top / f"cpu{below}/cpu.cfs_period_us", "100000\n")
    usage = machine.top / f"cpuacct{below}/cpuacct.usage"
    machine.write(usage, "100\n")
    around = machine.surroundings()
    machine.write(usage, "350\n")
    seen = around.take(SECOND)
    assert (seen.quota_ns, seen.cgroup_cpu_ns) == (SECOND * 3 // 10, 250)


def test_where_nothing_is_told_everything_but_the_affinity_is_unknown(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    around = machine.surroundings()
    seen = around.take(SECOND)
    assert seen == Around(allowed_ns=len(os.sched_getaffinity(0)) * SECOND)
    around.close()
    assert Surroundings(tmp_path / "none", tmp_path, sampler.Allowances(lambda: None)).take(0) == Around(
        allowed_ns=0
    )


def test_a_counter_that_fell_is_another_one_and_not_negative(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.own("cpu.stat", stat(10, 5, 100_000))
    around = machine.surroundings()
    machine.own("cpu.stat", stat(1, 0, 0))
    assert around.take(SECOND).throttled_ns is None
    machine.own("cpu.stat", stat(11, 1, 2_000))
    assert around.take(SECOND).throttled_ns == 2_000_000


def test_a_process_that_is_moved_is_found_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.above("cpu.max", "20000 100000\n")
    machine.above("cpu.stat", stat(10, 5, 100_000))
    around = machine.surroundings()
    made(tmp_path, "/sys/fs/cgroup/elsewhere")
    machine.write(machine.top / "elsewhere/cpu.stat", stat(0, 0, 0))
    machine.write(machine.proc / "self/cgroup", "0::/elsewhere\n")
    seen = around.take(SECOND)
    assert (seen.quota_ns, seen.throttled_ns) == (None, None)
    assert around.take(SECOND).throttled_ns == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 10**6)), min_size=1, max_size=5
    )
)
def test_what_seconds_saw_adds_up_to_what_was_counted(steps: list[tuple[int, int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        machine.own("cpu.stat", stat(0, 0, 0))
        around = machine.surroundings()
        periods = throttled = us = 0
        seen = []
        for more in steps:
            periods, throttled, us = periods + more[0], throttled + more[1], us + more[2]
            machine.own("cpu.stat", stat(periods, throttled, us))
            seen.append(around.take(SECOND))
        around.close()
    assert sum(each.throttled_ns or 0 for each in seen) == us * 1_000
    assert sum(each.throttled_periods or 0 for each in seen) == throttled


# The following tests are about the CPU time that is allowed.


@pytest.mark.parametrize(
    ("allowed", "cores", "said"),
    [
        (Allowed(frozenset({0, 1}), 2, None, None, False), 2.0, None),
        (
            Allowed(frozenset({0, 1}), 2, 0.3, None, True),
            0.3,
            "a CPU quota allows 30 % of a core of the machine's 2",
        ),
        (Allowed(frozenset({0, 1}), 2, 5.0, None, True), 2.0, None),
        (
            Allowed(frozenset({1}), 8, None, None, True),
            1.0,
            "a cpuset or affinity allows 1 core of the machine's 8",
        ),
        (
            Allowed(frozenset({1}), 8, 4.0, None, True),
            1.0,
            "a cpuset or affinity allows 1 core of the machine's 8",
        ),
        (Allowed(frozenset(), 4, None, None, False), 4.0, None),
        (Allowed(frozenset(), None, None, None, False), None, None),
    ],
)
def test_the_tightest_of_quota_cpuset_and_affinity_counts(
    allowed: Allowed, cores: float | None, said: str | None
) -> None:
    assert (allowed.cores, restrained(allowed)) == (cores, said)


# The following tests are about EC2's network allowances.


class Driver:
    """Answers like the driver of a network interface."""

    def __init__(self, counters: dict[str, int], cut: int = 0) -> None:
        self.counters, self.cut = counters, cut

    def __call__(self, _interface: str, command: bytearray) -> None:
        (kind,) = struct.unpack_from("=I", command)
        count = len(self.counters)
        if kind == 0x37:
            struct.pack_into("=IIQI", command, 0, kind, 0, 2 if count else 0, count)
        elif kind == 0x1B:
            names = b"".join(name.encode().ljust(32, b"\0") for name in self.counters)
            command[:] = struct.pack("=III", kind, 1, count) + names
        else:
            command[:] = struct.pack("=II", kind, count) + struct.pack(f"={count}Q", *self.counters.values())
        if self.cut and kind != 0x37:
            del command[-self.cut :]


COUNTERS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=31),
    st.integers(0, 2**64 - 1),
    max_size=40,
)


@given(COUNTERS)
def test_a_drivers_statistics_come_back_by_name(counters: dict[str, int]) -> None:
    assert ethtool.statistics("eth0", Driver(counters)) == counters


@given(COUNTERS, st.integers(0, 400))
def test_an_answer_that_is_cut_off_is_no_error_and_makes_nothing_up(
    counters: dict[str, int], cut: int
) -> None:
    found = ethtool.statistics("eth0", Driver(counters, cut))
    assert found.items() <= counters.items()


@given(st.binary(max_size=200))
def test_no_buffer_is_an_error(answer: bytes) -> None:
    assert len(ethtool.names_in(answer)) <= len(answer) // 32
    assert len(ethtool.values_in(answer)) <= len(answer) // 8


def test_allowances_are_added_over_interfaces_and_unknown_where_no_interface_tells() -> None:
    ena = Driver({"tx_timeout": 5, "pps_allowance_exceeded": 7, "bw_in_allowance_exceeded": 0})
    assert ethtool.allowances(ena, lambda: ["eth0", "eth1"]) == {"bw_in": 0, "pps": 14}
    assert ethtool.allowances(Driver({"rx_drops": 1}), lambda: ["eth0"]) is None
    assert ethtool.allowances(ena, list) is None


def test_allowances_are_columns_of_the_second(tmp_path: Path) -> None:
    told: Iterator[dict[str, int] | None] = iter([{"pps": 7, "conntrack": 1}])
    allowances = sampler.Allowances(lambda: next(told))
    around = Surroundings(Machine(tmp_path).proc, tmp_path, allowances)
    allowances.latest = {"pps": 19, "conntrack": 1}
    seen = around.take(SECOND)
    assert (seen.pps_exceeded, seen.conntrack_exceeded, seen.bw_in_exceeded) == (12, 0, None)


def test_the_watch_ends_where_there_is_nothing_to_read() -> None:
    slept: list[float] = []
    sampler.Allowances(lambda: None).watch(slept.append)
    assert not slept


@pytest.mark.skipif(sys.platform != "linux", reason="ethtool is Linux's")
def test_the_kernel_answers_or_refuses_and_never_breaks() -> None:
    for interface in [*ethtool.interfaces(), "lo", "none-such"]:
        found = ethtool.statistics(interface)
        assert all(isinstance(value, int) for value in found.values())


def test_this_process_is_found_somewhere_or_nowhere() -> None:
    groups = limits.groups_here()
    for place in groups.places.values():
        assert all((folder / "cgroup.procs").exists() for folder in place.folders)
