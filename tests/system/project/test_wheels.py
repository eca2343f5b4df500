"""Test wheels built as the release builds them."""

import sys
import zipfile
from pathlib import Path

import pytest

import loadgen
from tests.system.building import build, copy


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy(tmp_path / "tree")


def test_a_wheel_has_the_native_path_its_tag_and_all_that_belongs_to_it(tree: Path) -> None:
    # An extension module that another Python has built in the checkout must not be packaged.
    (tree / "loadgen/native/_native.cpython-399-x86_64-linux-gnu.so").write_bytes(b"of another Python")
    (tree / "scenarios/private-feeds/__pycache__").mkdir()
    (tree / "scenarios/private-feeds/__pycache__/handlers.cpython-311.pyc").write_bytes(b"compiled")
    done, wheels = build(tree, LOADGEN_NATIVE="require")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.startswith(f"fanout_loadgen-{loadgen.__version__}-{python}-{python}-linux_")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        metadata = content.read(f"fanout_loadgen-{loadgen.__version__}.dist-info/METADATA").decode()
    assert {"loadgen/py.typed", "analysis/py.typed", "loadgen/_bundle/locustfile.py"} <= set(names)
    # The wheel contains all files of the scenarios folder, except for the bytecode that Python writes there.
    catalogue = {name.removeprefix("loadgen/_bundle/scenarios/") for name in names if "/scenarios/" in name}
    files = (path for path in (tree / "scenarios").rglob("*") if path.is_file())
    assert catalogue == {
        path.relative_to(tree / "scenarios").as_posix() for path in files if path.suffix != ".pyc"
    }
    assert {"private-feeds/api.yaml", "private-feeds/handlers.py", "private-feeds/people.csv"} <= catalogue
    (built,) = [name for name in names if name.endswith(".so")]
    assert f"cpython-{python[2:]}-" in built
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert f"\nVersion: {loadgen.__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata


def test_a_private_key_in_the_catalogue_ends_the_build(tree: Path) -> None:
    (tree / "scenarios/private-feeds/signing.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    done, wheels = build(tree)
    assert done.returncode != 0
    assert wheels == []
    assert "signing.pem is a private key, which would go into the package" in done.stdout + done.stderr


def test_a_compiler_that_fails_ends_the_build_of_a_release(tree: Path) -> None:
    done, wheels = build(tree, LOADGEN_NATIVE="require", CC="/bin/false")
    assert done.returncode != 0
    assert wheels == []
    assert "false" in done.stdout + done.stderr


def test_elsewhere_a_compiler_that_fails_leaves_a_wheel_of_plain_python(tree: Path) -> None:
    done, wheels = build(tree, CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        assert not [name for name in content.namelist() if name.endswith(".so")]
