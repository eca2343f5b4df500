"""Wheels as the release builds them: whole, or not at all."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import loadgen

REPO = Path(__file__).resolve().parents[3]


def _build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(REPO)]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_a_wheel_has_the_native_path_its_tag_and_all_that_belongs_to_it(tmp_path: Path) -> None:
    done = _build(tmp_path, LOADGEN_NATIVE="require")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.startswith(f"fanout_loadgen-{loadgen.__version__}-{python}-{python}-linux_")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        metadata = content.read(f"fanout_loadgen-{loadgen.__version__}.dist-info/METADATA").decode()
    assert {"loadgen/py.typed", "analysis/py.typed", "loadgen/_bundle/locustfile.py"} <= set(names)
    # One extension, of this Python: those of other Pythons may lie in the checkout.
    (built,) = [name for name in names if name.endswith(".so")]
    assert f"cpython-{python[2:]}-" in built
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert f"\nVersion: {loadgen.__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata


def test_a_compiler_that_fails_ends_the_build_of_a_release(tmp_path: Path) -> None:
    done = _build(tmp_path, LOADGEN_NATIVE="require", CC="/bin/false")
    assert done.returncode != 0
    assert not list(tmp_path.glob("*.whl"))
    assert "false" in done.stdout + done.stderr


def test_elsewhere_a_compiler_that_fails_leaves_a_wheel_of_plain_python(tmp_path: Path) -> None:
    done = _build(tmp_path, CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        assert not [name for name in content.namelist() if name.endswith(".so")]
