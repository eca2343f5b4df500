"""Build the C part with AddressSanitizer and UBSan and run its tests with it: ``python tests/native/sanitized.py``.

With ``--threads`` as the first argument it is ThreadSanitizer instead, and the tests are those of the receive thread.
Other arguments are pytest's; without any it runs what goes through the C part. The extension that is installed stays as
it is: the sanitized one is built in a folder of its own and imported in its stead by `LOADGEN_NATIVE_LIBRARY`, which
only the plugin below reads. Exit code: pytest's; 1 if a sanitizer has found something; 2 if it cannot be built.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Flag of the compiler, and the runtime libraries.
MEMORY = ("-fsanitize=address,undefined", ("libasan.so", "libubsan.so"))
THREADS = ("-fsanitize=thread", ("libtsan.so",))
FLAGS = [
    "-O1", "-g", "-shared", "-fPIC", "-fno-omit-frame-pointer", "-fno-wrapv",
    "-Wall", "-Wextra", "-Werror",
    # CPython's own conventions: unused arguments, casts of method types, tables that end with one NULL.
    "-Wno-unused-parameter", "-Wno-cast-function-type", "-Wno-missing-field-initializers",
]  # fmt: skip
#: What reads by the C part and takes seconds: arrivals (a capture) and the suspended generator are left out.
TESTS = [
    "tests/native",
    "tests/protocol/mqtt/test_lane.py",
    "tests/transport/test_websocket.py",
    "tests/transport/test_native_tls.py",
    "tests/transport/test_violations.py",
    "tests/transport/test_framing.py",
]
#: Those that start no process, which would not load the library.
THREAD_TESTS = [
    "tests/native/test_thread.py",
    "tests/native/test_pollers.py",
    "tests/native/test_publish_thread.py",
    "tests/protocol/mqtt/test_lane.py",
    "tests/native/test_tls.py",
    "-k",
    "not forked",
]
VARIABLE = "LOADGEN_NATIVE_LIBRARY"


def build(library: Path, sanitizer: str) -> None:
    """Compile the sources as one sanitized library; raises CalledProcessError where the compiler refuses."""
    sources = sorted(str(path) for path in (ROOT / "loadgen" / "native").glob("*.c"))
    compiler = os.environ.get("CC", "gcc")
    recover = [] if sanitizer == THREADS[0] else ["-fno-sanitize-recover=all"]
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run(
        [compiler, *FLAGS, sanitizer, *recover, include, *sources, "-ldl", "-o", str(library)], check=True
    )


def runtime(name: str) -> str:
    """Return the path of a sanitizer's runtime library, which must be loaded before the interpreter."""
    compiler = os.environ.get("CC", "gcc")
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return str(Path(found.stdout.strip()).resolve())


def environment(library: Path, log: Path, runtimes: Sequence[str]) -> dict[str, str]:
    """Return the variables under which an interpreter imports the sanitized library."""
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(map(runtime, runtimes)),
        # Leaks: CPython leaves objects when it ends; tests/native/test_faults.py looks for cycles that stay.
        "ASAN_OPTIONS": f"detect_leaks=0:halt_on_error=1:abort_on_error=0:exitcode=99:log_path={log}",
        # The interpreter is not compiled for it, so what it does itself is left out.
        "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1:die_after_fork=0:exitcode=99:log_path={log}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode=99:log_path={log}",
        # Each object its own allocation, or a use after free stays within CPython's pools.
        "PYTHONMALLOC": "malloc",
        # Some five times as slow as without: fewer frames, unless more are asked for.
        "LOADGEN_FUZZ_FRAMES": os.environ.get("LOADGEN_FUZZ_FRAMES", "20000"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        VARIABLE: str(library),
    }


def main(arguments: list[str]) -> int:
    """Build, test, and say what the sanitizers found."""
    threads = arguments[:1] == ["--threads"]
    sanitizer, runtimes = THREADS if threads else MEMORY
    arguments = arguments[threads:] or (THREAD_TESTS if threads else TESTS)
    with tempfile.TemporaryDirectory(prefix="loadgen-sanitized-") as folder:
        library = Path(folder, "_native.so")
        log = Path(folder, "finding")
        try:
            build(library, sanitizer)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the sanitized library could not be built: {error}", file=sys.stderr)
            return 2
        # ThreadSanitizer follows every thread itself, on all cores; the other tests run side by side.
        side_by_side = [] if threads else ["-n", str(os.cpu_count() or 1), "--dist", "worksteal"]
        plugins = ["-p", "tests.native.sanitized_plugin", "-p", "no:cacheprovider"]
        pytest = [sys.executable, "-m", "pytest", "-q", *plugins, *side_by_side]
        ended = subprocess.run(
            [*pytest, *arguments], cwd=ROOT, env=environment(library, log, runtimes)
        ).returncode
        findings = sorted(Path(folder).glob("finding*"))
        for finding in findings:
            print(finding.read_text(errors="replace"), file=sys.stderr)
        return 1 if findings else ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
