"""Test the keys of a distributed run: their files, and messages for missing or wrong ones."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadgen.cli.join
from loadgen.cli.app import app
from loadgen.exits import RunError
from loadgen.run import join
from loadgen.run.keyless import beyond_loopback
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER
from loadgen.run.shared_folder import spool_folder


@pytest.fixture(autouse=True)
def no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (JOIN_MASTER, JOIN_WORKER):
        monkeypatch.delenv(name, raising=False)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_master_makes_the_file_and_finds_it_again(tmp_path: Path) -> None:
    path = tmp_path / "run.join"
    before = os.umask(0)
    try:
        first = join.for_master(path)
    finally:
        os.umask(before)
    assert first is not None
    assert first == join.for_master(path)
    assert mode(path) == mode(join.master_path(path)) == 0o600
    worker = join.for_worker(path)
    assert worker is not None
    assert worker.public == first.workers_public
    assert first.secret.decode() not in path.read_text() + repr(first)
    assert worker.secret.decode() not in repr(worker)
    # The file has three parts: its kind and two keys. The kind prevents that a worker's file is taken for a master's.
    assert len(path.read_text().split(".")) == 3


def test_two_masters_have_different_keys(tmp_path: Path) -> None:
    made = {(join.make().master.secret, join.make().worker.secret) for _ in range(20)}
    assert len({key for pair in made for key in pair}) == 40


def test_the_environment_does_as_well_as_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = join.make()
    monkeypatch.setenv(JOIN_MASTER, keys.master.text())
    monkeypatch.setenv(JOIN_WORKER, f" {keys.worker.text()}\n")
    assert join.for_master(None) == keys.master
    assert join.for_worker(None) == keys.worker


def said_of(path: Path | None, of: str = "worker") -> str:
    with pytest.raises(RunError) as raised:
        join.for_worker(path) if of == "worker" else join.for_master(path)
    assert raised.value.code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_each_mistake_with_a_file_has_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.join"
    assert "there is no join file" in said_of(path)
    join.write(path, join.make())
    path.chmod(0o640)
    assert "others may read" in said_of(path)
    assert "chmod 600" in said_of(path)
    path.chmod(0o600)
    assert "is the master's half" in said_of(join.master_path(path))
    for text in (
        "",
        "hello",
        "loadgen-join-worker-1.a.b",
        path.read_text() + "x",
        "loadgen-join-worker-1." + "ö" * 99,
    ):
        path.write_text(text)
        assert "is not a join file of loadgen" in said_of(path)
    path.write_bytes(os.urandom(10_000))
    assert "is not a join file of loadgen" in said_of(path)
    join.master_path(path).unlink()
    assert "and the master's half" in said_of(path, "master")
    assert "Is a directory" in said_of(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a regular file" in said_of(tmp_path / "pipe")
    monkeypatch.setenv(JOIN_WORKER, "secret-that-is-none")
    assert "secret-that" not in said_of(None)
    assert JOIN_WORKER in said_of(None)


def test_no_file_is_written_over_and_no_link_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "run.join"
    for at in (path, join.master_path(path)):
        at.symlink_to(victim)
        with pytest.raises(RunError, match="is there already"):
            join.write(path, join.make())
        at.unlink()
    assert victim.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    with pytest.raises(RunError, match="cannot be written"):
        join.write(tmp_path / "no" / "run.join", join.make())


@pytest.mark.parametrize(
    ("host", "beyond"),
    [
        ("127.0.0.1", False),
        ("127.5.0.1", False),
        ("::1", False),
        ("[::1]", False),
        ("localhost", False),
        ("*", True),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("master", True),
        ("127.evil.com", True),
    ],
)
def test_which_addresses_are_this_machines(host: str, beyond: bool) -> None:
    assert beyond_loopback(host) == beyond


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["comments", "--master", "--master-bind-host", "0.0.0.0"],
            "--master-bind-host 0.0.0.0 can be reached from",
        ),
        (["--worker", "--master-host", "10.0.0.1"], "--master-host 10.0.0.1 is another machine"),
        (["comments", "--join", "x"], "--join goes with --master or --worker"),
        (["--worker", "--join", "/no/such/file"], "there is no join file /no/such/file"),
        (["comments", "--master", "--join", "/no/such/folder/run.join"], "cannot be written"),
    ],
)
def test_a_run_that_cannot_have_its_key_says_so_before_anything_starts(
    arguments: list[str], said: str
) -> None:
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_command_makes_both_halves_or_prints_them(tmp_path: Path) -> None:
    assert loadgen.cli.join.join is not None
    path = tmp_path / "run.join"
    made = CliRunner().invoke(app, ["join", str(path)])
    assert made.exit_code == 0, made.output
    assert join.for_master(path) is not None
    assert path.read_text().strip() not in made.output
    again = CliRunner().invoke(app, ["join", str(path)])
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    printed = dict(line.split("=", 1) for line in CliRunner().invoke(app, ["join"]).stdout.splitlines())
    assert set(printed) == {JOIN_MASTER, JOIN_WORKER}
    # The keys have no characters that a shell, an environment file or Compose would interpret.
    for text in printed.values():
        assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_a_worker_writes_into_a_folder_that_the_master_names_only_where_it_is_the_runs(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    spool = run / "spool"
    spool.mkdir(parents=True)
    marker = spool / "shared-with"
    marker.write_text("77")
    assert spool_folder(str(run), 77, 0) == (spool, True)
    for told, token in (
        (str(run), 78),
        (str(tmp_path / "no"), 77),
        ("run", 77),
        (f"{run}/../run", 77),
        ("a\0b", 77),
    ):
        own, shared = spool_folder(told, token, 0)
        assert not shared
        assert not own.is_relative_to(tmp_path)
        own.rmdir()
    # Links are not followed, neither for the spool's folder nor for its marker file.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "spool").symlink_to(spool)
    assert not spool_folder(str(tmp_path / "linked"), 77, 0)[1]
    marker.unlink()
    (tmp_path / "elsewhere").write_text("77")
    marker.symlink_to(tmp_path / "elsewhere")
    assert not spool_folder(str(run), 77, 0)[1]
    marker.unlink()
    os.mkfifo(marker)
    assert not spool_folder(str(run), 77, 0)[1]
    if os.geteuid() == 0:
        marker.unlink()
        marker.write_text("77")
        os.chown(marker, 4321, -1)
        assert not spool_folder(str(run), 77, 0)[1]
