"""A server that many runs share, since starting one takes half a second of CPU time."""

from dataclasses import dataclass

#: Names the environment variable with its key.
KEY_VARIABLE = "LOADGEN_SHARED_SERVICE_KEY"


@dataclass(frozen=True)
class Service:
    """A server that no test changes, and that one run at a time uses."""

    url: str
    key: str

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `loadgen run` and of our locustfiles that lead there."""
        return "--target", self.url, "--api-key-env", KEY_VARIABLE
