"""Python versions of the handlers that an Event API on AWS would run in JavaScript for private feeds."""

from typing import Any

from loadgen.server.handlers import Context, Unauthorized


def own_channel_only(ctx: Context) -> None:
    """Admit users only to the channel whose last segment is their own id. Wildcards are refused."""
    owner = (ctx.identity or {}).get("sub")
    if len(ctx.info.channel.segments) != 3 or ctx.info.channel.segments[-1] != owner:
        raise Unauthorized


def with_owner(ctx: Context) -> list[dict[str, Any]]:
    """Write the owner of the feed into each event; leave the other members as they are."""
    owner = ctx.info.channel.segments[-1]
    return [{"id": event["id"], "payload": {**event["payload"], "owner": owner}} for event in ctx.events]
