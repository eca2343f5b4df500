"""Test that neither modules nor Locust configuration in the working directory are used."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.record.folders import runs_in
from tests.paths import REPO
from tests.system.harness import STUCK_S, only_run, overrides
from tests.system.users.player import Player

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
#: Modules that our processes try to import although no package here contains them.
OPTIONAL = {
    "sitecustomize",
    "usercustomize",
    "locust_plugins",
    "truststore",
    "_ruamel_yaml",
    "_ruamel_yaml_clibz",
    "argcomplete",
    "cloudpickle",
    "colorama",
    "django",
    "fqdn",
    "isoduration",
    "java",
    "org",
    "orjson",
    "pydevconsole",
    "pydevd_file_utils",
    "pydevd_plugins",
    "pydevd_tracing",
    "rfc3986_validator",
    "rfc3987",
    "rfc3987_syntax",
    "substrait",
    "thread",
    "uri_template",
    "webcolors",
    "_pydev_bundle",
    "_pydevd_bundle",
    "_pydevd_bundle_ext",
    "_pydevd_frame_eval",
    "_pydevd_sys_monitoring",
    "ipykernel_launcher",
    "locustfile",
}
HOSTILE = (
    "with open({marker!r}, 'a') as f:\n    f.write(__name__ + ' ' + str(__import__('sys').argv) + '\\n')\n"
)
#: A program that each Python process runs first. For each name that an import looks up, it puts a hostile
#: module of this name into the working directory. It records imports that are made while the working
#: directory is on the search path.
WATCHER = """\
import os, sys
_here = os.environ["WATCHED"]
with open(os.environ["CANARIES"], encoding="utf-8") as _file:
    _text = _file.readline()
    _known = set(_file.read().split())
_exposed = os.open(os.environ["EXPOSED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _lay(name):
    _known.add(name)
    path = os.path.join(_here, name + ".py")
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os.write(file, eval(_text).encode())
    os.close(file)
    # Python lists a folder anew when its time differs, however soon after the last time that is.
    ns = os.stat(_here).st_mtime_ns + 1_000_000_000
    os.utime(_here, ns=(ns, ns))
def _hook(event, arguments):
    if event != "import":
        return
    name = arguments[0].partition(".")[0]
    if name.isidentifier() and name not in _known:
        _lay(name)
    places = arguments[2] or ()
    if "" in places or _here in places:
        os.write(_exposed, (arguments[0] + " " + str(sys.argv) + "\\n").encode(errors="replace"))
sys.addaudithook(_hook)
"""
LOCUSTFILE = """\
from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber
import beside_the_locustfile
install()
"""
RUN = (
    *("run", "comments", "--results", "{results}"),
    *overrides(
        [
            *(
                "gates=[]",
                "clients.readers.count=4",
                "clients.readers.ramp=200/s",
                "clients.commenters.count=2",
            ),
            *(
                "clients.commenters.publish.rate=20/s",
                "phases.warmup=0s",
                "phases.measure=500ms",
                "phases.drain=300ms",
            ),
        ]
    ),
)
LOCUST = (*("--headless", "--only-summary", "--scenario", "comments", "--no-report"), *RUN[2:])
#: A search for the capacity whose time budget ends with the first trial.
CAPACITY = (
    *("capacity", "comments", "--slo", "delivery.latency.p99 < 60s", "--from", "20", "--to", "21"),
    *("--measure", "1s", "--short", "500ms", "--budget", "1s", "--results", "{results}", *RUN[4:]),
)
#: Groups of commands with their allowed exit codes. If a command reads a run, the first command of its group
#: has made that run.
COMMANDS: dict[str, tuple[tuple[tuple[str, ...], set[int]], ...]] = {
    "version": ((("version",), {0}),),
    "run and what reads it": (
        # The run makes no report, because `report` below imports the same modules.
        ((*RUN, "--processes", "2", "--no-report"), {0, 3}),
        (("report", "{sample}"), {0}),
        (("verify", "{sample}"), {0}),
        (("compare", "{sample}", "{sample}"), {0, 3}),
        (("notebook", "{sample}", "throughput"), {0}),
    ),
    "capacity": ((CAPACITY, {0, 3}),),
    "serve": ((("serve", "--port", "0"), {0, 130}),),
}
#: Commands that start no other process, with their exit codes. They run one after another in one interpreter,
#: which looks up each module only once. So all modules are looked up that separate processes would look up.
ALONE = {
    ("scenarios",): 0,
    ("schema",): 0,
    ("plan", "comments"): 0,
    ("probe", "--target", "http://127.0.0.1:9/event", "--auth", "api-key:HOME"): 4,
}
IN_TURN = """
import json, sys
from loadgen.cli import main

codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["loadgen", *arguments]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps(codes))
"""


def names(*arguments: str) -> set[str]:
    """Return the modules that an interpreter has imported before the first line of its program."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=REPO)
    return set(done.stdout.split())


class Folder:
    """A working directory with a hostile module for each name that a process might import."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "here"
        self.path.mkdir()
        self.marker, self.exposed, self.results = folder / "ran", folder / "exposed", folder / "results"
        self.text = HOSTILE.format(marker=str(self.marker))
        self.known = (
            set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()) | OPTIONAL
        )
        self.known |= {"analysis", "loadgen", "tests", "benchmarks"}
        for name in self.known:
            (self.path / f"{name}.py").write_text(self.text)
        self.watcher, self.canaries = folder / "watcher", folder / "canaries"
        self.watcher.mkdir()
        (self.watcher / "sitecustomize.py").write_text(WATCHER)
        #: Additional environment variables.
        self.more: dict[str, str] = {}
        self.sample = folder / "sample"
        shutil.copytree(REPO / "results" / "sample", self.sample)

    def leave_out(self, taken: set[str]) -> None:
        """Remove from the folder the modules that Python itself imports before it runs our code."""
        for name in taken:
            (self.path / f"{name}.py").unlink(missing_ok=True)

    def environment(self, pythonpath: str) -> dict[str, str]:
        self.canaries.write_text("\n".join([repr(self.text), *sorted(self.known)]))
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": f"{pythonpath}{self.watcher}",
            "WATCHED": str(self.path),
            "CANARIES": str(self.canaries),
            "EXPOSED": str(self.exposed),
            "HOME": str(self.path),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.more,
        }

    def run(self, *command: str, pythonpath: str = "") -> tuple[int, str]:
        """Run a command in the folder; a server is stopped as soon as it is ready."""
        made = next(iter(runs_in(self.results)), self.sample)
        given = {"results": self.results, "sample": made}
        process = subprocess.Popen(
            [part.format(**given) if part in ("{results}", "{sample}") else part for part in command],
            cwd=self.path,
            env=self.environment(pythonpath),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        begun = ""
        if "serve" in command:
            assert process.stdout is not None
            begun = process.stdout.readline()
            process.send_signal(signal.SIGINT)
        try:
            said, _ = process.communicate(timeout=STUCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, begun + said

    def check(self, said: str) -> None:
        assert not self.marker.exists(), self.marker.read_text() + said

    def lay_options(self) -> None:
        """Put an option into each file and variable that plain Locust reads; the folder is also HOME."""
        stolen = self.path.parent / "stolen"
        (self.path / "locust.conf").write_text(
            f"target = http://127.0.0.1:9/event\nauth = oidc:HOME\nhtml = {stolen}\n"
        )
        (self.path / "pyproject.toml").write_text(
            f'[tool.locust]\nresults = "{stolen}"\nset = ["seed=none"]\n'
        )
        (self.path / ".locust.conf").write_text(f"scenario = no-such-scenario\nlogfile = {stolen}\n")
        self.more = {
            "LOCUST_CSV": str(stolen),
            "LOCUST_MODE_WORKER": "true",
            "LOCUST_USER_CLASSES": "Nobody",
        }

    def check_options(self, said: str) -> None:
        assert '"embedded": true' in (only_run(self.results) / "manifest.json").read_text()
        assert {path.name for path in self.path.iterdir() if path.suffix != ".py"} == {
            *("locust.conf", "pyproject.toml", ".locust.conf")
        }
        assert not (self.path.parent / "stolen").exists()
        assert (
            "loadgen: note: settings of Locust have no effect on `loadgen run`: LOCUST_CSV, LOCUST_MODE_WORKER,"
            " LOCUST_USER_CLASSES, ~/.locust.conf, locust.conf, pyproject.toml; write what you mean as options, or run"
            " plain `locust`"
        ) in said.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_what_is_looked_for_in_the_working_directory_is_found_out(folder: Folder) -> None:
    """The tests below depend on this: every import from the folder is noticed, whatever the module's name."""
    code = "import colorsys"
    for name in ("colorsys", "never_heard_of", "nor_of_that"):
        code += f"\ntry:\n    import {name}.part\nexcept ImportError:\n    pass"
    assert folder.run(sys.executable, "-c", code)[0] == 0
    assert [line.split()[0] for line in folder.marker.read_text().splitlines()] == [
        "colorsys",
        "never_heard_of",
        "nor_of_that",
    ]
    assert folder.exposed.read_text().startswith("colorsys ")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_imports_from_the_working_directory(name: str, folder: Folder) -> None:
    for command, expected in COMMANDS[name]:
        code, said = folder.run(script("loadgen"), *command)
        folder.check(said)
        # No process of the command has looked up a module in the folder.
        assert folder.exposed.read_text() == "", said
        assert code in expected, said
    if len(COMMANDS[name]) > 1:
        assert only_run(folder.results)


def test_no_command_of_one_process_imports_from_the_working_directory(folder: Folder) -> None:
    code, said = folder.run(sys.executable, "-P", "-c", IN_TURN, json.dumps(list(ALONE)))
    folder.check(said)
    assert folder.exposed.read_text() == "", said
    assert code == 0, said
    assert json.loads(said.splitlines()[-1]) == list(ALONE.values()), said


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("-m", "version"),
        ("empty entry", "version"),
        # The commands with child processes are tested only with `-m` and an empty entry at once. If both together
        # import nothing, neither does each alone.
        ("-m and empty entry", "notebook"),
        ("-m and empty entry", "run"),
    ],
)
def test_neither_python_m_nor_an_empty_entry_of_pythonpath_lets_it_in(
    way: str, name: str, folder: Folder
) -> None:
    """Before our code runs, Python itself imports some modules from the folder; no later import may use the folder.

    The run also takes no option from a file or the environment: it uses the embedded server, although each
    file and variable there asks for something else.
    """
    code = "import sys\nprint(*sys.modules)"
    (folder.path.parent / "first.py").write_text(code)
    taken = {"loadgen"} | ({"sitecustomize", "usercustomize"} if "empty" in way else set())
    taken |= names("-c", "import re\n" + code)
    done = subprocess.run(
        [sys.executable, "-m", "first"], cwd=folder.path.parent, capture_output=True, text=True, check=True
    )
    folder.leave_out(taken | set(done.stdout.split()))
    command = (sys.executable, "-m", "loadgen") if "-m" in way else (script("loadgen"),)
    if name == "run":
        folder.lay_options()
    # The command run makes no report here, because the tests above cover the report's imports.
    arguments = {
        "version": ("version",),
        "notebook": ("notebook", "{sample}", "throughput"),
        "run": (*RUN, "--processes", "2", "--no-report"),
    }[name]
    exit_code, said = folder.run(*command, *arguments, pythonpath=":" if "empty" in way else "")
    folder.check(said)
    assert exit_code in ({0, 3} if name == "run" else {0}), said
    if name == "run":
        folder.check_options(said)


@pytest.mark.parametrize("beside", [True, False])
def test_plain_locust_takes_what_lies_beside_a_locustfile_last(beside: bool, folder: Folder) -> None:
    """The user's locustfile may import modules beside it, but these do not replace any library."""
    folder.leave_out({"loadgen"})
    home = folder.path if beside else folder.path.parent / "mine"
    home.mkdir(exist_ok=True)
    (home / "mine.py").write_text(LOCUSTFILE)
    (home / "beside_the_locustfile.py").write_text("print('a neighbour was imported')\n")
    if not beside:
        for path in folder.path.glob("*.py"):
            shutil.copy(path, home)
    folder.known |= {"beside_the_locustfile", "mine"}
    # The two cases differ only in the order of the search path, so a run in one of them is enough. If the locustfile is
    # in the working directory, only load it.
    arguments = ("--list",) if beside else LOCUST
    code, said = folder.run(script("locust"), "-f", str(home / "mine.py"), *arguments)
    folder.check(said)
    assert "a neighbour was imported" in said
    assert code in ((0,) if beside else (0, 3)), said
    if not beside:
        assert only_run(folder.results)


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        (
            "# a comment\ntarget = http://127.0.0.1:9/event\nauth = lambda:SOME_SECRET\n",
            (),
            [
                "note: --auth stands in locust.conf:3, not on the command line",
                "note: --target stands in locust.conf:2, not on the command line",
                "locust.conf:3 names the environment variable SOME_SECRET, whose value would go to 127.0.0.1:9:"
                " allow it with --allow-env SOME_SECRET",
            ],
        ),
        # --allow-remote stands for all options that permit something; tests/run/test_search_path.py tests the others.
        (
            "target = http://192.0.2.1:9/event\nallow-remote = true\n",
            ("--api-key-env", "SOME_SECRET"),
            ["--allow-remote stands in locust.conf:2: it counts only on the command line"],
        ),
    ],
)
def test_plain_locust_says_where_an_option_stands_and_takes_no_permission_from_there(
    text: str, arguments: tuple[str, ...], says: list[str], tmp_path: Path, commands: Player
) -> None:
    (tmp_path / "locust.conf").write_text(text)
    done = commands.command(
        tmp_path,
        *("locust", "-f", str(REPO / "locustfile.py"), "--headless", "--loglevel", "WARNING", *arguments),
        env={"SOME_SECRET": "canary", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.code == 2, done.err
    for sentence in says:
        assert f"loadgen: {sentence}" in done.err.splitlines(), done.err
    assert "canary" not in done.out + done.err
    assert "Traceback" not in done.err
