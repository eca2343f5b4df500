"""The two names that a locustfile imports: ``from loadgen.run.install import ScenarioShape, install``."""

from loadgen.run.locust.install import install
from loadgen.run.locust.shape import ScenarioShape

__all__ = ["ScenarioShape", "install"]
