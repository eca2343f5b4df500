"""Resolve the target `aws:STACK` to the Event API of that stack."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from loadgen.aws.access import Access, AwsError
from loadgen.aws.stack import Stacks
from loadgen.exits import ExitCode

PREFIX: Final = "aws:"


@dataclass(frozen=True, slots=True)
class StackTarget:
    """The Event API of a stack. It holds no secret: the API key is read when it is needed."""

    stack: str
    region: str
    api_id: str
    url: str
    namespaces: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Return the entry `target.aws` of a run's manifest."""
        said = asdict(self)
        del said["url"]
        return {**said, "namespaces": list(self.namespaces)}


def find(target: str, access: Access) -> StackTarget:
    """Return the API of the stack that ``target`` (`aws:STACK`) names.

    Raises:
        AwsError: the stack does not exist or holds no Event API (exit code 2), or AWS cannot be reached.
    """
    name = target.removeprefix(PREFIX).strip()
    if not name:
        raise AwsError("--target aws:STACK lacks the stack's name, such as aws:loadgen", ExitCode.USAGE)
    session = access.session()
    stack = Stacks(session.client("cloudformation")).find(name)
    if stack is None:
        raise AwsError(
            f"there is no stack {name!a} in {session.region_name}: make it with"
            f" `loadgen aws up --stack {name}{access.options()}`, or name its region with --region",
            ExitCode.USAGE,
        )
    try:
        api_id, url = stack.outputs["ApiId"], stack.outputs["HttpUrl"]
    except KeyError as error:
        raise AwsError(
            f"the stack {name!a} ({stack.status}) has no output {error}: it is not an Event API of loadgen, or not"
            " finished",
            ExitCode.USAGE,
        ) from None
    return StackTarget(stack.name, str(session.region_name), api_id, url, stack.namespaces)
