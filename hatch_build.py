"""Builds the C extension (`loadgen/native`) where that is possible; elsewhere the package is plain Python.

With ``LOADGEN_NATIVE=require``, the build fails if the extension cannot be compiled. With ``LOADGEN_NATIVE=0``, the
extension is left out.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "loadgen/native"
SOURCES = (
    "module.c", "rows.c", "fast_path.c", "deliveries.c", "known.c", "json_scan.c", "json_canonical.c", "times.c",
    "queue.c", "joining.c", "reading.c", "receiver.c", "processing.c", "poller.c", "publishes.c", "sending.c",
    "publish_lane.c", "publish_message.c", "answers.c", "stacks.c", "slice.c",
    "json_path.c", "lane.c", "mqtt_packets.c", "names.c", "owed.c", "template.c", "template_lane.c",
    "tls_library.c", "tls_context.c", "tls_ends.c", "tls.c",
)  # fmt: skip
HEADERS = (
    "native.h", "json_scan.h", "json_character.h", "json_number.h", "json_string.h", "json_canonical.h", "known.h",
    "joining.h", "receiver.h", "poller.h", "text.h",
    "publishes.h", "sending.h", "delivery.h", "json_path.h", "lane.h", "names.h", "owed.h", "template.h",
    "tls_library.h", "tls_ends.h", "tls.h",
)  # fmt: skip


class NativeReceivePath(BuildHookInterface[Any]):
    """Compiles the extension module next to its sources, for the wheel and for editable installs alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the extension module, and mark the wheel as specific to this platform."""
        for key in sorted(Path(self.root, "scenarios").rglob("signing.pem")):
            # Refuse the key: `force-include` packs the whole folder, including files that git ignores.
            raise RuntimeError(f"{key} is a private key, which would go into the package: move it elsewhere")
        wish = os.environ.get("LOADGEN_NATIVE", "")
        if self.target_name != "wheel" or wish == "0":
            return
        try:
            built = self._build()
        except Exception as error:
            # If the compilation fails, build the package without the extension module: the package contains the same
            # functions in Python. With LOADGEN_NATIVE=require, fail instead.
            if wish == "require":
                raise
            self.app.display_warning(
                f"the native receive path was not built, the Python one is used: {error}"
            )
            return
        build_data["artifacts"].append(f"/{built.relative_to(self.root).as_posix()}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _build(self) -> Path:
        if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
            raise RuntimeError("it needs a 64-bit Linux")
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        folder = Path(self.root, FOLDER)
        extension = Extension(
            "loadgen.native._native",
            [str(folder / name) for name in SOURCES],
            depends=[str(folder / name) for name in HEADERS],
            extra_compile_args=["-O2", "-g0", "-fvisibility=hidden", "-pthread"],
            libraries=["dl"],
        )
        command = build_ext(Distribution({"name": "loadgen-native", "ext_modules": [extension]}))
        command.build_lib = command.build_temp = str(Path(self.root, "build", "native"))
        command.ensure_finalized()
        command.run()
        made = Path(command.get_ext_fullpath(extension.name))
        target = folder / made.name
        # Replace the file atomically, since a running process may have the old one mapped.
        temporary = target.with_suffix(".new")
        temporary.write_bytes(made.read_bytes())
        temporary.replace(target)
        return target
