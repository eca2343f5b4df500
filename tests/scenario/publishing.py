"""The publish plan of a client that has one."""

from loadgen.scenario import Plan
from loadgen.scenario.plan import PublishPlan


def publish_of(plan: Plan, number: int) -> PublishPlan:
    publish = plan.client(number).publish
    assert publish is not None, f"client {number} publishes nothing"
    return publish
