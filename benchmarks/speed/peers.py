"""Install the other tools that the speed benchmark compares with, where possible: `python benchmarks/speed/peers.py`.

k6 and websocket-client go into the running interpreter's environment, Artillery into `.cache/peers` of the checkout (or
the folder that LOADGEN_PEERS names). Missing Debian packages are only named. Exits with 1 if something is still missing
afterwards.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMAND = "python benchmarks/speed/peers.py"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "peers"
#: The last version for Node 20; later ones need 22.
ARTILLERY = "artillery@2.0.21"
#: The package by the module or program to look for.
PYTHON_PEERS = {"k6": "k6", "websocket": "websocket-client"}
#: The command that installs each program.
SYSTEM_PEERS = {"tsung": "apt-get install tsung", "wrk": "apt-get install wrk", "cc": "apt-get install gcc"}


def program(name: str) -> str | None:
    """Return a program's path: on PATH, beside the running interpreter, or installed by npm for the benchmark."""
    folders = [str(Path(sys.executable).parent)]
    homes = (os.environ.get("LOADGEN_PEERS"), FOLDER, Path.home() / ".cache" / "loadgen-peers")
    folders += [str(Path(home) / "node_modules" / ".bin") for home in homes if home]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def main() -> int:
    """Install the missing tools, and print those that are still missing."""
    missing = []
    for name, package in PYTHON_PEERS.items():
        if program(name) or importlib.util.find_spec(name):
            print(f"{package}: there")
        elif subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package]).returncode:
            missing.append(f"{package}: pip could not install it")
    if found := program("artillery"):
        print(f"artillery: {found}")
    elif shutil.which("npm") is None:
        missing.append("artillery: needs npm")
    else:
        folder = Path(os.environ.get("LOADGEN_PEERS", FOLDER))
        folder.mkdir(parents=True, exist_ok=True)
        # Run no install scripts of packages: the benchmark does not need anything that they build.
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
        if subprocess.run([*command, ARTILLERY]).returncode:
            missing.append("artillery: npm could not install it")
    for name, how in SYSTEM_PEERS.items():
        if found := program(name):
            print(f"{name}: {found}")
        else:
            missing.append(f"{name}: {how}")
    for one in missing:
        print(f"missing: {one}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
