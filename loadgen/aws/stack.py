"""Create, update, describe and delete the CloudFormation stack.

Create, update and delete report the stack's events and return when the operation has ended.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from loadgen.aws.access import AwsError, clean, code_of, refusal, told
from loadgen.aws.template import DEFAULT_NAMESPACE, body
from loadgen.exits import ExitCode

TAG: Final = ("created-by", "loadgen")
#: At most 50 characters, since the stack's name becomes the API's name in AppSync.
STACK_PATTERN: Final = r"[A-Za-z](?:[A-Za-z0-9-]{0,49})"
DEFAULT_STACK: Final = "loadgen"
DEFAULT_KEY_DAYS: Final = 7
_DAY_S: Final = 86_400
_POLL_S: Final = 2.0
_ALIVE: Final = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"}
)
_GOOD: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as CloudFormation describes it."""

    name: str
    id: str
    status: str
    reason: str
    outputs: dict[str, str] = field(repr=False)
    parameters: dict[str, str] = field(repr=False)
    ours: bool

    @property
    def alive(self) -> bool:
        """True if the stack exists and can be updated."""
        return self.status in _ALIVE

    @property
    def moving(self) -> bool:
        """True while an operation of CloudFormation is in progress."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The channel namespaces of the stack's API."""
        return tuple(filter(None, self.outputs.get("Namespaces", "").split(",")))

    @property
    def key_expires_s(self) -> int:
        """Expiry of the API key in seconds since the epoch, or 0 if unknown."""
        said = self.parameters.get("KeyExpires", "0")
        return int(float(said)) if said.replace(".", "", 1).isdigit() else 0


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stack's history, without the physical id, which for an API key contains the key."""

    id: str
    at: datetime
    resource: str
    kind: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings given to `up`; None keeps the stack's value, or the default for a new stack."""

    namespaces: tuple[str, ...] = ()
    log_level: str | None = None
    key_days: int | None = None


class Stacks:
    """The stacks of one account and region; changes only those that loadgen has created.

    ``say`` is called with each stack event as it appears. ``sleep`` and ``clock`` (seconds since the epoch) are for
    tests.
    """

    def __init__(
        self,
        client: Any,
        say: Callable[[Event], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._say, self._sleep, self._clock = client, say, sleep, clock

    def find(self, name: str) -> Stack | None:
        """Return a stack by name or id, or None if it does not exist. A deleted stack can be found only by its id.

        Raises:
            AwsError: AWS refuses or cannot be reached.
        """
        from botocore.exceptions import ClientError

        action = f"look at the stack {clean(name)}"
        with told(action):
            try:
                (found,) = self._client.describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise AwsError(refusal(action, error), ExitCode.TARGET) from None
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
        return Stack(
            name=found["StackName"],
            id=found["StackId"],
            status=found["StackStatus"],
            reason=clean(found.get("StackStatusReason", "")),
            outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())},
            parameters={
                each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", ())
            },
            ours=tags.get(TAG[0]) == TAG[1],
        )

    def up(self, name: str, wanted: Wanted) -> tuple[Stack, str]:
        """Create or update the stack; return it, and "made", "changed" or "nothing to change".

        Namespaces are added to those of an existing stack. An API key that is valid for another day or longer keeps its
        expiry, unless ``wanted`` sets the key's lifetime.

        Raises:
            AwsError: CloudFormation failed (the message gives the first reason), or loadgen did not create the existing
                stack.
        """
        stack = self._settled(name)
        if stack is None:
            return self._create(name, wanted), "made"
        self._must_be_ours(stack)
        if not stack.alive:
            raise AwsError(
                f"the stack {name} is in the state {stack.status} and cannot be changed: remove it first with"
                f" `loadgen aws down --stack {name}`",
                ExitCode.TARGET,
            )
        return self._update(stack, wanted)

    def down(self, stack: Stack) -> None:
        """Delete a stack and all its resources.

        Raises:
            AwsError: loadgen did not create the stack, or CloudFormation could not delete it.
        """
        self._must_be_ours(stack)
        before = self._newest(stack.id)
        with told(f"remove the stack {stack.name}"):
            self._client.delete_stack(StackName=stack.id)
        gone = self._follow(stack.id, before)
        if gone.status != "DELETE_COMPLETE":
            raise AwsError(self._why(gone, before, "could not be removed"), ExitCode.TARGET)

    def _must_be_ours(self, stack: Stack) -> None:
        if not stack.ours:
            raise AwsError(
                f"the stack {stack.name} was not made by loadgen (it lacks the tag {TAG[0]}={TAG[1]}): it is left"
                " alone; choose another name with --stack",
                ExitCode.USAGE,
            )

    def _settled(self, name: str) -> Stack | None:
        """Wait until no operation on the stack is in progress; return the stack, or None if there is none (left)."""
        stack = self.find(name)
        if stack is None or not stack.moving:
            return stack
        self._must_be_ours(stack)
        stack = self._follow(stack.id, None)
        return None if stack.status == "DELETE_COMPLETE" else stack

    def _create(self, name: str, wanted: Wanted) -> Stack:
        with told(f"make the stack {name}"):
            made = self._client.create_stack(
                StackName=name,
                TemplateBody=body(wanted.namespaces or (DEFAULT_NAMESPACE,)),
                Parameters=[
                    _parameter("LogLevel", wanted.log_level or "OFF"),
                    _parameter("KeyExpires", str(self._expiry_s(wanted.key_days))),
                ],
                Capabilities=["CAPABILITY_IAM"],
                # A stack that failed and was not deleted would block the next attempt under this name.
                OnFailure="DELETE",
                TimeoutInMinutes=15,
                Tags=[{"Key": TAG[0], "Value": TAG[1]}],
            )
        stack = self._follow(made["StackId"], None)
        if stack.status not in _GOOD:
            raise AwsError(self._why(stack, None, "could not be made, and is removed again"), ExitCode.TARGET)
        return stack

    def _update(self, stack: Stack, wanted: Wanted) -> tuple[Stack, str]:
        from botocore.exceptions import ClientError

        names = {*stack.namespaces, *wanted.namespaces} or {DEFAULT_NAMESPACE}
        before = self._newest(stack.id)
        action = f"change the stack {stack.name}"
        keep = wanted.key_days is None and stack.key_expires_s > self._clock() + _DAY_S
        with told(action):
            try:
                self._client.update_stack(
                    StackName=stack.id,
                    TemplateBody=body(names),
                    Parameters=[
                        _parameter("LogLevel", wanted.log_level),
                        _parameter("KeyExpires", None if keep else str(self._expiry_s(wanted.key_days))),
                    ],
                    Capabilities=["CAPABILITY_IAM"],
                    Tags=[{"Key": TAG[0], "Value": TAG[1]}],
                )
            except ClientError as error:
                if "No updates are to be performed" in str(error):
                    return stack, "nothing to change"
                raise AwsError(refusal(action, error), ExitCode.TARGET) from None
        changed = self._follow(stack.id, before)
        if changed.status not in _GOOD:
            raise AwsError(
                self._why(changed, before, "could not be changed, and is as before"), ExitCode.TARGET
            )
        return changed, "changed"

    def _expiry_s(self, days: int | None) -> int:
        # AppSync rounds down to the hour and requires 1 to 365 days: round up, except at the maximum.
        return (
            (int(self._clock()) // 3600 + 1) * 3600
            + (days or DEFAULT_KEY_DAYS) * _DAY_S
            - (3600 if days == 365 else 0)
        )

    def _follow(self, stack_id: str, before: str | None) -> Stack:
        """Report the events of an operation until it has ended; return the stack's final state."""
        last = before
        while True:
            stack = self.find(stack_id)
            for event in self._events(stack_id, last):
                self._say(event)
                last = event.id
            if stack is None:
                raise AwsError(f"the stack {clean(stack_id)} has vanished", ExitCode.TARGET)
            if not stack.moving:
                return stack
            self._sleep(_POLL_S)

    def _newest(self, stack_id: str) -> str | None:
        return next((event.id for event in self._newest_first(stack_id)), None)

    def _events(self, stack_id: str, after: str | None) -> Sequence[Event]:
        """Return the events after the one with the id ``after``, oldest first."""
        found = []
        for event in self._newest_first(stack_id):
            if event.id == after:
                break
            found.append(event)
        return found[::-1]

    def _newest_first(self, stack_id: str) -> Iterator[Event]:
        with told("read the stack's events"):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                for each in page["StackEvents"]:
                    yield Event(
                        each["EventId"],
                        each["Timestamp"],
                        clean(each.get("LogicalResourceId", "")),
                        clean(each.get("ResourceType", "")),
                        each.get("ResourceStatus", ""),
                        clean(each.get("ResourceStatusReason", "")),
                    )

    def _why(self, stack: Stack, before: str | None, what: str) -> str:
        """Return one sentence about a failed operation: the first resource that failed, and the reason."""
        failed = first_failure(self._events(stack.id, before))
        if failed is None:
            reason = stack.reason or "CloudFormation gives no reason"
        else:
            reason = f"{failed.resource} ({failed.kind}): {failed.reason or failed.status}"
        return f"the stack {stack.name} {what} ({stack.status}): {reason.rstrip('.')}"


def first_failure(events: Iterable[Event]) -> Event | None:
    """Return the first failure of a resource, or None.

    Cancelled resources are skipped, since CloudFormation cancels the others once one has failed.
    """
    return next(
        (
            event
            for event in events
            if event.status.endswith("_FAILED")
            and "cancelled" not in event.reason.lower()
            and event.kind != "AWS::CloudFormation::Stack"
        ),
        None,
    )


def _parameter(name: str, value: str | None) -> dict[str, Any]:
    """Return a stack parameter; if ``value`` is None, the stack keeps its present value."""
    if value is None:
        return {"ParameterKey": name, "UsePreviousValue": True}
    return {"ParameterKey": name, "ParameterValue": value}
