"""A server that many runs share, because starting one takes half a second of CPU time."""

from dataclasses import dataclass

#: Name of the environment variable that has the server's API key.
KEY_VARIABLE = "LOADGEN_SHARED_SERVICE_KEY"


@dataclass(frozen=True)
class Service:
    """A server that no test changes, used by one run at a time."""

    url: str
    key: str

    @property
    def options(self) -> tuple[str, ...]:
        """Options with which `loadgen run` and our locustfiles use this server as their target."""
        return "--target", self.url, "--api-key-env", KEY_VARIABLE
