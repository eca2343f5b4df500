"""Test the C part with AddressSanitizer and UBSan: ``python tests/native/sanitized.py``.

With ``--threads`` as the first argument, it uses ThreadSanitizer and the tests of the receive thread instead.
Other arguments are pytest's; without any it runs all tests that use the C part. The sanitized extension is
built in a separate folder, and the installed one stays as it is. The plugin `sanitized_plugin` loads the
sanitized one, by the variable `LOADGEN_NATIVE_LIBRARY`. Exit code: pytest's; 1 if a sanitizer found
something; 2 if it cannot be built.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The compiler's flag for a kind of sanitizer, and the runtime libraries that the sanitizer needs.
MEMORY = ("-fsanitize=address,undefined", ("libasan.so", "libubsan.so"))
THREADS = ("-fsanitize=thread", ("libtsan.so",))
FLAGS = [
    "-O1", "-g", "-shared", "-fPIC", "-fno-omit-frame-pointer", "-fno-wrapv",
    "-Wall", "-Wextra", "-Werror",
    # CPython's conventions cause these three warnings: unused arguments, casts of method types, and tables that end
    # with one NULL.
    "-Wno-unused-parameter", "-Wno-cast-function-type", "-Wno-missing-field-initializers",
]  # fmt: skip
#: Tests that use the C part. Two that take too long are left out: that of arrival times (a packet capture) and that of
#: the suspended generator.
TESTS = [
    "tests/native",
    "tests/protocol/mqtt/test_lane.py",
    "tests/transport/test_websocket.py",
    "tests/transport/test_native_tls.py",
    "tests/transport/test_violations.py",
    "tests/transport/test_framing.py",
]
#: Only tests that start no process, because a child process would not load the library.
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
    """Compile the sources as one sanitized library; raises CalledProcessError if that fails."""
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
    """Return environment variables with which an interpreter loads the sanitized library."""
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(map(runtime, runtimes)),
        # Do not search for leaks, because CPython does not free all objects when it ends. tests/native/test_faults.py
        # looks for reference cycles that are never freed.
        "ASAN_OPTIONS": f"detect_leaks=0:halt_on_error=1:abort_on_error=0:exitcode=99:log_path={log}",
        # The interpreter is not compiled with this sanitizer, so ignore what it does itself.
        "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1:die_after_fork=0:exitcode=99:log_path={log}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode=99:log_path={log}",
        # Allocate each object separately; else a use after free within CPython's pools is not noticed.
        "PYTHONMALLOC": "malloc",
        # Compare fewer frames unless the variable is set, because a sanitizer makes the test some five times slower.
        "LOADGEN_FUZZ_FRAMES": os.environ.get("LOADGEN_FUZZ_FRAMES", "20000"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        VARIABLE: str(library),
    }


def main(arguments: list[str]) -> int:
    """Build, test, and print what the sanitizers found."""
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
        # ThreadSanitizer itself uses all cores, so its tests run one after the other; other tests run in
        # parallel.
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
