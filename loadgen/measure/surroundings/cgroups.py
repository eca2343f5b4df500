"""Finds the control groups of this process: cgroup v1, v2 and both at once, with and without a cgroup namespace.

A limit of any cgroup above holds, too, so each controller has the folders from the process's own cgroup up to the
topmost one that is mounted here. What lies above a container's own cgroup is often hidden from it: a quota there shows
in nothing but steal and pressure.

The formats are those of proc_pid_cgroup(5) and proc_pid_mountinfo(5).
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: Controllers whose files are read here.
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy."""

    root: str
    """The cgroup that is the mount's top, as this process's cgroup namespace names it."""
    point: str
    controllers: frozenset[str] | None
    """Of cgroup v1; None: cgroup v2, which has all that are not v1's."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one controller, from the process's own cgroup to the topmost that is visible."""

    version: int
    """1 or 2."""
    folders: tuple[Path, ...]

    @property
    def own(self) -> Path:
        """The process's own cgroup."""
        return self.folders[0]


@dataclass(frozen=True, slots=True)
class Groups:
    """Where a process stands in each controller's hierarchy. A controller that is missing is not visible here."""

    places: dict[str, Place] = field(default_factory=dict)
    unified: Place | None = None
    """In the v2 hierarchy, whichever controllers it has: pressure is there even where v1 has the controllers."""


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Return the cgroup mounts of a `/proc/PID/mountinfo`, in its order; a line that cannot be read is left out."""
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
    """Return of a `/proc/PID/cgroup` the path by v1 controller, and the path in v2 or None."""
    v1: dict[str, str] = {}
    unified = None
    for line in cgroup.splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/"):
            continue
        number, controllers, path = parts
        # A cgroup that was removed under a process that still runs.
        path = path.removesuffix(" (deleted)")
        if number == "0" and not controllers:
            unified = path
        else:
            v1.update(dict.fromkeys(filter(None, controllers.split(",")), path))
    return v1, unified


def find(cgroup: str, mountinfo: str, pid: int, base: Path = Path("/")) -> Groups:
    """Return where the process stands.

    ``cgroup`` and ``mountinfo`` are the texts of its files in `/proc`, ``pid`` its own number, ``base`` the folder in
    which the mount points lie (for tests).
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
    """Return the folders of the mount that shows most of what is above the process."""
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
            # The mount and the process are named from different places, as in a container that was handed its
            # host's hierarchy. If the process is listed at the top, that is its cgroup.
            if best is None and _lists(top, pid):
                best = Place(version, (top,))
    return best


def _below(path: str, root: str) -> Iterator[PurePosixPath]:
    """Yield where a cgroup lies below a mount's root, if it does."""
    of, under = PurePosixPath(path), PurePosixPath(root)
    # `/../x` is beside the namespace's root: names do not tell where that is.
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
