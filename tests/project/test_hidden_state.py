"""Test that global state, and state that other code changes, is on one list with a reason for each entry."""

import pytest

from tests.paths import REPO
from tests.project.hidden_state import findings

#: Places in the code that may keep or change global state or the state of other objects, by the reason why they may.
ALLOWED = {
    # Locust creates its runners, reads its options and fires its events itself. It has no parameters to
    # replace these.
    "Locust takes runners, sockets and its own settings from its modules only; set before a run": (
        "loadgen/run/runners.py: changed: locust.env.MasterRunner",
        "loadgen/run/runners.py: changed: locust.env.WorkerRunner",
        "loadgen/run/runners.py: changed: locust.runners.HEARTBEAT_LIVENESS",
        "loadgen/run/runners.py: changed: locust.runners.rpc",
        "loadgen/run/start_locust.py: changed: argument_parser.LocustArgumentParser.parse_known_args",
        "loadgen/run/start_locust.py: changed: main.load_locustfile",
        "loadgen/run/start_locust.py: changed: runners.inspect",
    ),
    "Locust's events are those of the process, and two files of users may each register the harness": (
        "loadgen/run/locust/install.py: global: global _installed",
    ),
    "Locust only logs what a listener or a greenlet of the user raises; its hooks have no other seam": (
        "loadgen/run/locust/own_code.py: replaced: hook.fire",
        "loadgen/run/locust/own_code.py: replaced: hub.handle_error",
        "loadgen/run/locust/own_code.py: changed: log.unhandled_greenlet_exception",
    ),
    "Locust creates the users; its environment is all that it passes to them": (
        "loadgen/users/journeys/user.py: changed: setattr(environment, _LISTENING, True)",
        "loadgen/users/making.py: changed: setattr(environment, _RUN, run)",
    ),
    "Locust looks up and stops the greenlet of a user by this attribute only": (
        "loadgen/users/resting.py: completed: user._greenlet",
    ),
    "Locust's web page asks this attribute for the values of its template": (
        "loadgen/live/web.py: replaced: web_ui.update_template_args",
    ),
    # These entries are state of the whole process, set while the process starts and before a run begins.
    "--no-proxy: said once, before anything connects; a credential's library asks for it too": (
        "loadgen/transport/proxy.py: global: global _off",
    ),
    "a sentence that is printed once per process; no result depends on it": (
        "loadgen/credentials/fetchers.py: once: announce",
    ),
    "the environment of this process: secrets are hidden from its children, and each is read once": (
        "loadgen/lifeline.py: changed: os.environ.pop",
        "loadgen/live/entry.py: changed: os.environ.pop",
        "loadgen/run/handover.py: changed: os.environ.pop",
        "loadgen/run/runners.py: changed: os.environ.pop",
    ),
    "a place that the user's command line names: all later readers in this process and its children may read it": (
        "analysis/record/places.py: changed: os.environ[PARTS_FROM]",
    ),
    "the allocator of the process that analyses, which Arrow reads from the environment when it is loaded": (
        "analysis/heap.py: changed: os.environ.setdefault",
    ),
    "Locust's variables, hidden while it is imported": (
        "loadgen/run/start_locust.py: changed: os.environ['LOCUST_SKIP_URLLIB3_PATCH']",
        "loadgen/run/start_locust.py: changed: os.environ[name]",
    ),
    "which modules are found and loaded, while a process begins": (
        "analysis/without_pandas.py: changed: sys.meta_path.insert",
        "analysis/without_pandas.py: changed: sys.meta_path.remove",
        "loadgen/child.py: changed: sys.argv",
        "loadgen/run/start_locust.py: changed: importlib.metadata.entry_points",
        "loadgen/run/start_locust.py: changed: sys.modules.setdefault",
        "loadgen/run/start_locust.py: changed: sys.modules[name]",
        "loadgen/search_path.py: changed: sys.meta_path.append",
        "loadgen/search_path.py: changed: sys.path.append",
        "loadgen/search_path.py: changed: sys.path.insert",
        "loadgen/search_path.py: changed: sys.path.pop",
        "loadgen/search_path.py: changed: sys.path[:front]",
        "loadgen/server/api_file.py: changed: sys.modules[module.__name__]",
        "loadgen/server/loading.py: changed: delattr(ssl.SSLContext, name)",
        "loadgen/server/loading.py: changed: setattr(ssl.SSLContext, name, nothing)",
        "loadgen/server/loading.py: changed: setattr(ssl.SSLContext, name, own[name])",
    ),
    "the style of the plots that the user's own cells draw in a notebook's kernel; pyplot has no other place": (
        "analysis/notebooks/begin.py: changed: mpl.rcParams.update",
    ),
    "standard streams and the last resort for errors, of which a process has one each": (
        "analysis/console.py: changed: setattr(sys, name, _forgiving(stream, descriptor))",
        "loadgen/users/declared.py: changed: sys.excepthook",
    ),
    "Python tells of its garbage collections by this list only": (
        "loadgen/measure/health.py: changed: gc.callbacks.append",
        "loadgen/measure/health.py: changed: gc.callbacks.remove",
    ),
    "matplotlib has one set of settings; they are put back at once": (
        "analysis/plots/style.py: changed: mpl.rcParams.update",
        "analysis/plots/style.py: container: _asking",
    ),
    # These containers hold one object for each event loop. Each thread has one event loop.
    "gevent's hub has no place for them, and what asks is below everything that knows the run": (
        "loadgen/transport/poller.py: container: _pollers",
        "loadgen/transport/poller.py: container: _python_inlets",
        "loadgen/transport/byte_counts.py: container: _watches",
        "loadgen/transport/silence.py: container: _watches",
    ),
    "a buffer to decrypt into, overwritten by each read and empty in between": (
        "loadgen/transport/tls.py: container: _PLAINTEXT",
    ),
    # The search takes these for objects that are completed after construction, but they are only told of changes.
    "an open connection learns its fast path when its last subscription is acknowledged": (
        "loadgen/transport/websocket.py: completed: self._frames.fast_path",
    ),
    "the progress line is told the phase and the timeline when they are known": (
        "loadgen/run/master/phases.py: completed: self._view.phase_end_ns",
        "loadgen/run/master/phases.py: completed: self._view.timeline",
    ),
    "a worker's last known surroundings, kept between two looks": (
        "loadgen/live/judge.py: completed: known.cgroup",
    ),
}
PACKAGES = ("analysis", "loadgen")


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(REPO)): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((REPO / package).rglob("*.py"))
    }


def test_there_is_no_hidden_channel_without_a_reason() -> None:
    found = findings(sources())
    assert len(found) > 20
    allowed = {finding for those in ALLOWED.values() for finding in those}
    new = sorted(found - allowed)
    assert not new, (
        "give it at construction or as an argument; only if that cannot be, add it here with the reason"
    )
    gone = sorted(allowed - found)
    assert not gone, "it is no more: remove it here, or it might come back without a reason"


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        # A function assigns a name of its module.
        (("now = None\ndef use(given):\n    global now\n    now = given\n"), ["global: global now"]),
        # A container of a module is filled.
        (("known = {}\ndef of(name):\n    known[name] = 1\n"), ["changed: known[name]", "container: known"]),
        ("known: dict[str, int] = dict()\n", ["container: known"]),
        (("FIXED: Mapping[str, int] = {}\nSOME = {'a': 1}\nNAMES = frozenset()\n"), []),
        (("rows = [1]\ndef more():\n    rows.append(2)\n"), ["changed: rows.append"]),
        (("def more():\n    rows = []\n    rows.append(2)\n    return rows\n"), []),
        # A module has an object that changes.
        (
            ("class Reader:\n    def explain(self):\n        self.read = 1\nreader = Reader()\n"),
            ["object: reader"],
        ),
        (
            (
                "class Count:\n"
                "    def add(self):\n"
                "        self.by['a'] = 1\n"
                "    def more(self):\n"
                "        self.seen.add(1)\n"
                "count = Count()\n"
            ),
            ["object: count"],
        ),
        (("class Fixed:\n    def __init__(self):\n        self.a = 1\nFIXED = Fixed()\n"), []),
        # A function changes an attribute of a class, a module, or an imported object.
        (
            ("class Shape:\n    controller = None\ndef hook(it):\n    Shape.controller = it\n"),
            ["changed: Shape.controller"],
        ),
        (
            ("class Shape:\n    @classmethod\n    def hook(cls, it):\n        cls.controller = it\n"),
            ["changed: cls.controller"],
        ),
        (("from x import faults\ndef hook(it):\n    faults.name_of = it\n"), ["changed: faults.name_of"]),
        (("import x\ndef hook(it):\n    x.names.add(it)\n"), ["changed: x.names.add"]),
        ("def hook(name, it):\n    setattr(it, name, 1)\n", ["changed: setattr(it, name, 1)"]),
        # Code outside a class sets an attribute of the finished object that the constructor left as None.
        (
            (
                "class Recorder:\n"
                "    def __init__(self):\n"
                "        self.tally = None\n"
                "def use(recorder):\n"
                "    recorder.tally = 5\n"
            ),
            ["completed: recorder.tally"],
        ),
        (
            ("@dataclass\nclass Row:\n    error: str | None = None\ndef fail(row):\n    row.error = 'x'\n"),
            [],
        ),
        # A function is put into another object.
        (("def fire(): ...\ndef hook(it):\n    it.fire = fire\n"), ["replaced: it.fire"]),
        ("def hook(it):\n    it.fire = lambda: None\n", ["replaced: it.fire"]),
        (
            (
                "class Slow:\n"
                "    def begin(self, socket):\n"
                "        socket.read = self._read\n"
                "    def _read(self): ...\n"
            ),
            ["replaced: socket.read"],
        ),
        (
            (
                "class Source(Protocol):\n"
                "    read: Callable[..., int]\n"
                "def slow(socket, other):\n"
                "    socket.read = other\n"
            ),
            ["replaced: socket.read"],
        ),
        # A function does something only once.
        (("@cache\ndef say(text: str) -> None:\n    print(text)\n"), ["once: say"]),
        (("@cache\ndef read(path: str) -> str:\n    return path\n"), []),
    ],
)
def test_each_kind_is_found(code: str, kinds: list[str]) -> None:
    assert sorted(findings({"a.py": code})) == [f"a.py: {kind}" for kind in kinds]


def test_what_a_module_holds_is_known_by_other_modules() -> None:
    files = {
        "a.py": "class Watch:\n    def look(self):\n        self.seen = 1\n",
        "b.py": "from a import Watch\nwatch = Watch()\n",
        "c.py": "from b import watch\nnames = {'a'}\n",
        "d.py": "from c import names\ndef more():\n    names.add('b')\n",
    }
    assert sorted(findings(files)) == ["b.py: object: watch", "d.py: changed: names.add"]
