"""Assemble the file system of the slim image: what Python and the packages in /opt/loadgen need, and nothing else.

It runs in the build stage (Dockerfile). `python rootfs.py slim` removes from the packages what no process of loadgen
opens: debug symbols, tests, headers, and parts of pyarrow and botocore for services that loadgen does not call.
`python rootfs.py compile` writes the bytecode of loadgen and of its extras.
`python rootfs.py assemble FOLDER` copies the interpreter, the standard library, the shared libraries that a binary
names (by `ldd`), certificates, time zones, a shell and the packages.
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

VENV = Path("/opt/loadgen")
USER = 10001
#: Parts of the standard library to leave out: they need a screen, a compiler or a package index, or are its tests.
_NO_STDLIB = (
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "test",
    "tkinter",
    "turtledemo",
    "site-packages",
    "dist-packages",
)
#: Files and folders to remove from the packages: patterns for `Path.glob`, relative to site-packages.
_NO_PACKAGES = (
    "**/tests",
    "**/*.c",
    "**/*.cpp",
    "**/*.h",
    "**/*.hpp",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
    "**/*.pyi",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    "pyarrow/include",
    "pyarrow/includes",
    "pyarrow/src",
    # loadgen does not use Arrow's clients for RPC and for object stores.
    "pyarrow/*flight*",
    "pyarrow/*_s3*",
    "pyarrow/_s3fs*",
    "matplotlib/mpl-data/sample_data",
)
#: AWS services to keep: loadgen calls them or gets credentials from them. botocore has data on hundreds more.
_AWS_SERVICES = (
    "appsync",
    "cloudformation",
    "cloudwatch",
    "cognito-idp",
    "iam",
    "logs",
    "signin",
    "sso",
    "sso-oidc",
    "sts",
)
#: Packages to compile entirely: loadgen and its extras. A short run loads only parts of them.
_COMPILED = ("analysis", "loadgen", "boto3", "botocore", "opentelemetry", "s3transfer")
_NEEDED = re.compile(r"(?:=> )?(?P<path>/\S+) \(0x[0-9a-f]+\)")
#: Files and folders to copy from the base image, if they exist.
_SYSTEM = (
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib/ssl",
    "/usr/lib/os-release",
)


def assemble(root: Path) -> None:
    """Create the folder ``root`` and copy into it all that the slim image needs."""
    root.mkdir(parents=True)
    # Debian's /bin and /lib are links to folders in /usr.
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
            (root / str(Path("/", name).readlink()).lstrip("/")).mkdir(parents=True, exist_ok=True)
    stdlib, programs = Path(sysconfig.get_path("stdlib")), (Path(sys.executable), Path("/bin/sh"))
    binaries = [*programs, *stdlib.rglob("*.so"), *VENV.rglob("*.so"), *VENV.rglob("*.so.*")]
    for path in (*programs, *map(Path, _SYSTEM), *libraries(binaries)):
        for each in links(path):
            copy(each, root)
    copy(stdlib, root, leave=(*_NO_STDLIB, *(path.name for path in stdlib.glob("config-*"))))
    copy(VENV, root)
    for name in ("dev", "proc", "sys", "etc", "results", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    os.chown(root / "results", USER, USER)
    (root / "etc" / "passwd").write_text(
        f"root:x:0:0::/:/bin/sh\nloadgen:x:{USER}:{USER}::/results:/bin/sh\n"
    )
    (root / "etc" / "group").write_text(f"root:x:0:\nloadgen:x:{USER}:\n")
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True)  # noqa: S603


def slim() -> None:
    """Remove from the packages all files that no process of loadgen opens."""
    (packages,) = VENV.glob("lib/python*/site-packages")
    for pattern in _NO_PACKAGES:
        for path in sorted(packages.glob(pattern)):
            remove(path)
    for service in (packages / "botocore" / "data").glob("*/"):
        if service.name not in _AWS_SERVICES:
            remove(service)
    # pyarrow's wheel has each of these libraries three times, under three names: replace two copies by links.
    for library in (packages / "pyarrow").glob("libarrow_python*.so.*.*"):
        for name in (library.name.partition(".so")[0] + ".so", ".".join(library.name.split(".")[:3])):
            twin = library.with_name(name)
            if twin.exists() and twin.read_bytes() == library.read_bytes():
                twin.unlink()
                twin.symlink_to(library.name)
    for path in (*VENV.rglob("*.so"), *VENV.rglob("*.so.*")):
        if not path.is_symlink():
            strip(path)


def compile_packages() -> None:
    """Write the bytecode of all modules of loadgen and of its installed extras."""
    (packages,) = VENV.glob("lib/python*/site-packages")
    for name in _COMPILED:
        if (packages / name).is_dir() and not compileall.compile_dir(packages / name, quiet=1):
            sys.exit(f"{name} cannot be compiled")


def strip(library: Path) -> None:
    """Remove debug symbols, unless the result cannot be loaded, as is the case for some patched libraries of wheels."""
    stripped = library.with_name(f"{library.name}.stripped")
    command = ["strip", "--strip-unneeded", "-o", str(stripped), str(library)]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    if done.returncode == 0 and loads(stripped):
        shutil.copymode(library, stripped)
        stripped.replace(library)
    stripped.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def loads(library: Path) -> bool:
    """Return True if the dynamic loader accepts the library, according to ldd."""
    done = subprocess.run(["ldd", str(library)], check=False, capture_output=True)  # noqa: S603, S607
    return done.returncode == 0


def links(path: Path) -> Iterator[Path]:
    """Yield a path and, if it is a link, each path that the chain of links leads to; parent folders are resolved."""
    while path.exists() or path.is_symlink():
        path = path.parent.resolve() / path.name
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def libraries(binaries: Iterable[Path]) -> set[Path]:
    """Return the system libraries that the binaries load, including the dynamic loader."""
    found = set()
    for binary in binaries:
        command = ["ldd", str(binary)]
        said = subprocess.run(command, check=False, capture_output=True, text=True).stdout  # noqa: S603
        found |= {Path(match["path"]) for match in _NEEDED.finditer(said)}
    return {path for path in found if not path.is_relative_to(VENV)}


def copy(path: Path, root: Path, leave: tuple[str, ...] = ()) -> None:
    """Copy a file, link or folder to the same place below ``root``."""
    target = root / str(path).lstrip("/")
    if target.is_symlink() or (target.exists() and not path.is_dir()):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
    elif path.is_dir():
        shutil.copytree(
            path,
            target,
            symlinks=True,
            dirs_exist_ok=True,
            ignore=lambda _folder, names: set(names) & set(leave),
        )
    else:
        shutil.copy2(path, target)


if __name__ == "__main__":
    if sys.argv[1] == "slim":
        slim()
    elif sys.argv[1] == "compile":
        compile_packages()
    else:
        assemble(Path(sys.argv[2]))
