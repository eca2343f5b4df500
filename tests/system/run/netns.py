"""Separate machines for a test: network namespaces joined by virtual cables (see cable.py).

Each has a host name, a `boot_id`, and files that the others do not see. The hub (`10.77.255.1`, with the
master and the target) has a cable to each node. Without root, namespaces cannot be made; then nodes are
loopback addresses of this machine, and `Net.separate` is False.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.paths import REPO
from tests.system.harness import start

HUB = "10.77.255.1"


@dataclass
class Net:
    name: str
    separate: bool
    scratch: Path
    nodes: int
    hidden: Sequence[Path] = field(default_factory=list)

    @property
    def hub(self) -> str:
        return HUB if self.separate else "127.0.0.1"

    def address(self, node: int) -> str:
        return f"10.77.{node}.2" if self.separate else "127.0.0.1"

    def on_hub(self, *arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        prefix = ["ip", "netns", "exec", f"{self.name}-hub"] if self.separate else []
        return start(*arguments, env=env, prefix=prefix)

    def on_node(
        self, node: int, *arguments: str, env: dict[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start loadgen on a node. If nodes are network namespaces, the folders in ``hidden`` are empty there."""
        own = self.scratch / f"node{node}"
        own.mkdir(exist_ok=True)
        hide = "; ".join(f"mount -t tmpfs none {path}" for path in self.hidden)
        if not self.separate:
            env = {**(env or {}), "TMPDIR": str(own)}
            return start(*arguments, env=env)
        boot = own / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        script = (
            f"hostname node-{node} && mount --bind {boot} /proc/sys/kernel/random/boot_id &&"
            f' {hide or "true"}; mkdir -p {own} && cd {own} && TMPDIR={own} exec "$@"'
        )
        prefix = ["ip", "netns", "exec", f"{self.name}-{node}"]
        prefix += ["unshare", "--mount", "--uts", "sh", "-c", script, "sh"]
        return start(*arguments, env={"PYTHONPATH": str(REPO), **(env or {})}, prefix=prefix)

    def cut(self, node: int) -> None:
        """Cut the connection of a node."""
        _ip("-n", f"{self.name}-{node}", "link", "set", "up0", "down")

    def mend(self, node: int) -> None:
        _ip("-n", f"{self.name}-{node}", "link", "set", "up0", "up")
        _ip("-n", f"{self.name}-{node}", "route", "add", "default", "via", f"10.77.{node}.1")


@contextmanager
def network(
    scratch: Path, nodes: int, *, delay_ms: float = 0.0, loss: float = 0.0, hidden: Sequence[Path] = ()
) -> Iterator[Net]:
    """Make a hub and nodes; ``delay_ms`` and ``loss`` (0 to 1) apply to each cable in each direction."""
    net = Net(
        f"lg{os.getpid()}x{uuid.uuid4().hex[:4]}", _may_make_namespaces(), scratch, nodes, hidden=hidden
    )
    if not net.separate:
        yield net
        return
    names = [f"{net.name}-hub", *(f"{net.name}-{node}" for node in range(nodes))]
    cables = None
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", names[0], "addr", "add", f"{HUB}/32", "dev", "lo")
        ends = [f"{names[0]}=to{node},{names[node + 1]}=up0" for node in range(nodes)]
        cables = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("cable.py")), str(delay_ms), str(loss), *ends],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert cables.stdout is not None
        assert cables.stdout.readline() == "ready\n"
        for node in range(nodes):
            hub, own = names[0], names[node + 1]
            _ip("-n", hub, "addr", "add", f"10.77.{node}.1/30", "dev", f"to{node}")
            _ip("-n", own, "addr", "add", f"10.77.{node}.2/30", "dev", "up0")
            _ip("-n", hub, "link", "set", f"to{node}", "up")
            _ip("-n", own, "link", "set", "up0", "up")
            _ip("-n", own, "route", "add", "default", "via", f"10.77.{node}.1")
        yield net
    finally:
        if cables is not None:
            cables.kill()
            cables.communicate()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _may_make_namespaces() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    name = f"lgtry{os.getpid()}x{uuid.uuid4().hex[:4]}"
    made = _tried("ip", "netns", "add", name)
    if made:
        made = _tried("ip", "-n", name, "tuntap", "add", "dev", "a0", "mode", "tun")
        made = made and _tried("unshare", "--mount", "--uts", "hostname", "x")
        _tried("ip", "netns", "del", name)
    return made


def _tried(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
