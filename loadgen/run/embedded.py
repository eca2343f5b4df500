"""The embedded Event API as a child process: the target when none is given."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from loadgen.run import children
from loadgen.run.exits import ExitCode, RunError

START_TIMEOUT_S = 20.0


@dataclass
class EmbeddedServer:
    """A running server; it ends when its standard input does, so it cannot outlive this process."""

    http_url: str
    ws_url: str
    api_key: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    @classmethod
    def start(cls, namespaces: list[str]) -> "EmbeddedServer":
        """Start it on a free loopback port and wait until it serves.

        Raises:
            RunError: it did not come up.
        """
        options = [argument for name in namespaces for argument in ("--namespace", name)]
        process = subprocess.Popen(  # noqa: S603
            children.command("loadgen.server", "--announce", "--exit-with-stdin", "--port", "0", *options),
            env=children.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the harness, which stops the server when the record is complete.
            start_new_session=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            announced = json.loads(line)
            return cls(announced["http_url"], announced["ws_url"], announced["api_key"], process)
        except (ValueError, KeyError):
            process.kill()
            raise RunError(
                "the embedded Event API did not start; run `loadgen serve` to see why", ExitCode.TARGET
            ) from None

    def stop(self) -> None:
        """End it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        sys.stdout.flush()
