"""The Locust entry point of `loadgen run comments` and of `locust -f locustfile.py --scenario comments`."""

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Participant, Publisher, Subscriber

__all__ = ["Participant", "Publisher", "ScenarioShape", "Subscriber"]

install()
