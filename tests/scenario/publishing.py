"""Get the publish plan of a client that publishes."""

from loadgen.resolve import Clients, PublishPlan


def publish_of(plan: Clients, number: int) -> PublishPlan:
    publish = plan.client(number).publish
    assert publish is not None, f"client {number} publishes nothing"
    return publish
