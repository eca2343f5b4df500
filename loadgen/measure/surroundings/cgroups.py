"""Finds the cgroups of this process: in v1, v2 and both at once, with and without a cgroup namespace.

The limits of all cgroups above the process's own apply too, so each controller has the folders from the process's own
cgroup up to the topmost one that is mounted here. Cgroups above a container's own are often hidden from it; their quota
shows only in steal and pressure.

The formats are those of proc_pid_cgroup(5) and proc_pid_mountinfo(5).
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: Controllers whose files the package reads.
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy."""

    root: str
    """Path of the cgroup at the top of the mount, as seen in this process's cgroup namespace."""
    point: str
    controllers: frozenset[str] | None
    """Controllers of a cgroup v1 mount, or None for the cgroup v2 mount, which has all other controllers."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one controller, from the process's own cgroup up to the topmost visible one."""

    version: int
    """1 or 2."""
    folders: tuple[Path, ...]

    @property
    def own(self) -> Path:
        """Folder of the process's own cgroup."""
        return self.folders[0]


@dataclass(frozen=True, slots=True)
class Groups:
    """The cgroups of a process, by controller; controllers that are not visible here are missing."""

    places: dict[str, Place] = field(default_factory=dict)
    unified: Place | None = None
    """Place in the v2 hierarchy, which has the pressure files even if all controllers are in v1."""


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Return the cgroup mounts of a `/proc/PID/mountinfo` text in its order; unreadable lines are left out."""
    found = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3:
            continue
        root, point = _unescaped(fields[3]), _unescaped(fields[4])
        if kind[0] == "cgroup2":
            found.append(Mount(root, point, None))
        elif kind[0] == "cgroup":
            found.append(Mount(root, point, frozenset(kind[2].split(","))))
    return found


def parse_memberships(cgroup: str) -> tuple[dict[str, str], str | None]:
    """Parse a `/proc/PID/cgroup` text; return (the paths by v1 controller, the path in v2 or None)."""
    v1: dict[str, str] = {}
    unified = None
    for line in cgroup.splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/"):
            continue
        number, controllers, path = parts
        # The kernel appends this to the path of a cgroup that was removed.
        path = path.removesuffix(" (deleted)")
        if number == "0" and not controllers:
            unified = path
        else:
            v1.update(dict.fromkeys(filter(None, controllers.split(",")), path))
    return v1, unified


def find(cgroup: str, mountinfo: str, pid: int, base: Path = Path("/")) -> Groups:
    """Return the cgroups of a process.

    ``cgroup`` and ``mountinfo`` are the texts of these files in the process's `/proc` folder, ``pid`` is its process
    ID, and ``base`` is the folder that contains the mount points (for tests).
    """
    mounts = parse_mounts(mountinfo)
    v1, unified_path = parse_memberships(cgroup)
    unified = None
    if unified_path is not None:
        unified = _place(2, unified_path, (m for m in mounts if m.controllers is None), pid, base)
    places = {}
    for controller in CONTROLLERS:
        if controller in v1:
            its = (m for m in mounts if m.controllers is not None and controller in m.controllers)
            place = _place(1, v1[controller], its, pid, base)
        else:
            place = unified
        if place is not None:
            places[controller] = place
    return Groups(places, unified)


def _place(version: int, path: str, mounts: Iterable[Mount], pid: int, base: Path) -> Place | None:
    """Return a process's cgroup folders, in the mount with the most levels above it, or None if no mount has them."""
    best: Place | None = None
    for mount in mounts:
        top = base / mount.point.lstrip("/")
        for below in _below(path, mount.root):
            own = top / below
            if not (own / "cgroup.procs").exists():
                continue
            folders = (own, *(parent for parent in own.parents if parent == top or top in parent.parents))
            if best is None or len(folders) > len(best.folders):
                best = Place(version, folders)
            break
        else:
            # The process's folder was not found: its path and the mount's root begin at different cgroups, as in a
            # container that mounts the host's hierarchy. If the top cgroup lists the process, it is the process's own.
            if best is None and _lists(top, pid):
                best = Place(version, (top,))
    return best


def _below(path: str, root: str) -> Iterator[PurePosixPath]:
    """Yield a cgroup's path relative to a mount's root, if the cgroup lies below that root."""
    of, under = PurePosixPath(path), PurePosixPath(root)
    # `/../x` is outside the namespace's root: its location is unknown.
    if ".." not in of.parts and ".." not in under.parts and of.is_relative_to(under):
        yield of.relative_to(under)


def _lists(folder: Path, pid: int) -> bool:
    try:
        return str(pid) in (folder / "cgroup.procs").read_text().split()
    except OSError:
        return False


def _unescaped(text: str) -> str:
    """Return a path of mountinfo with its octal escapes (space, tab, newline, backslash) replaced."""
    return os.fsdecode(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), text))
