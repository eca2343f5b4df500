"""The end of the Locust receivers: the last user prints the number of deliveries and ends Locust."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from locust import User


class End:
    """Counts the users that receive."""

    def __init__(self, latencies: Sequence[float]) -> None:
        self._latencies = latencies
        self._users = 0

    @contextmanager
    def one(self, user: User) -> Iterator[None]:
        """Count a user while it receives; end Locust after the last one."""
        self._users += 1
        yield
        self._users -= 1
        if self._users == 0:
            print(json.dumps({"deliveries": len(self._latencies)}), flush=True)
            assert user.environment.runner is not None
            user.environment.runner.quit()
        user.stop(force=True)
