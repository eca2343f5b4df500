"""Python versions of the handlers that an Event API on AWS would run in JavaScript for the support chat."""

from typing import Any

from loadgen.server.handlers import Context, HandlerError, Unauthorized

LONGEST = 2_000


def with_text(ctx: Context) -> list[dict[str, Any]]:
    """Refuse a text that is too long, and let everything else pass."""
    for event in ctx.events:
        if len(event["payload"].get("text", "")) > LONGEST:
            raise HandlerError("the text is too long", "TextTooLong")
    return ctx.events


def no_wildcard_over_all(ctx: Context) -> None:
    """Refuse subscriptions that would receive all tickets."""
    if ctx.info.channel.path in ("/support/*", "/support/tickets/*"):
        raise Unauthorized
