"""Sessions of botocore for tests with stubbed clients."""

from functools import cache
from typing import Any

import botocore.loaders
import botocore.session


@cache
def _loader() -> Any:
    return botocore.loaders.create_loader()


def session() -> Any:
    """Return a new session; all share the service models, which take longer to read than most tests."""
    made = botocore.session.Session()
    made.register_component("data_loader", _loader())
    return made
