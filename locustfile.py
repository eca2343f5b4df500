"""The Locust entry point: `locust -f locustfile.py --scenario comments`, or by `loadgen run comments`."""

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Participant, Publisher, Subscriber

__all__ = ["Participant", "Publisher", "ScenarioShape", "Subscriber"]

install()
