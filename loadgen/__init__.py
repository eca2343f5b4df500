"""Generate load on realtime publish/subscribe services and record the results.

    import loadgen

    run = loadgen.run_scenario("comments", overrides={"phases.measure": "10s"})
    assert run.passed, run
    run.deliveries          # pandas DataFrame

`loadgen.testing` has fixtures for pytest.
"""

from loadgen.search_path import put_locustfile_last
from loadgen.version import VERSION

# Do not import TYPE_CHECKING from `typing`: before the search path is corrected below, any import might find a file of
# the working directory.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from loadgen.scenario_run import RunInterrupted, ScenarioRun, run_scenario

__version__ = VERSION
__all__ = ["RunInterrupted", "ScenarioRun", "run_scenario"]

# A locustfile may import this package first of all. Correct the search path before any other module is imported, so
# that no file beside the locustfile is imported in place of a library.
put_locustfile_last()


def __getattr__(name: str) -> object:
    """Import a name of `__all__` on first use: most processes need only some modules of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module("loadgen.scenario_run"), name)
    return found
