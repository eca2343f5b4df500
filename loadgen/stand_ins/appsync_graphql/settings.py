"""The options of the stand-in for AppSync GraphQL."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from loadgen.protocol.appsync_graphql import limits
from loadgen.server.auth.access import AccessControl
from loadgen.server.definition import ApiDefinition
from loadgen.stand_ins.appsync_graphql.schema import Schema, SchemaError
from loadgen.stand_ins.options import OptionError, Options
from loadgen.stand_ins.settings import Settings

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class GraphqlSettings:
    """The settings of one stand-in."""

    access: AccessControl = field(repr=False)
    schema: Schema
    #: Every Nth delivery is not written; 0 for none.
    lose_every: int = 0
    #: Time (ns) after a subscription's `start_ack` in which no events are delivered to it.
    lose_after_start_ack_ns: int = 0
    keepalive_interval_s: float = limits.KEEPALIVE_INTERVAL_S
    connection_timeout_ms: int = limits.CONNECTION_TIMEOUT_MS
    subscriptions_per_connection: int = limits.SUBSCRIPTIONS_PER_CONNECTION
    #: Maximum number of `start` messages per second for the whole API, or 0 for no limit.
    starts_per_s: float = 0
    payload_bytes: int = limits.EVENT_MAX_BYTES
    #: True to decode and re-encode AWSJSON values, which may change their text; False to pass on the text unchanged.
    rewrites_json: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the settings for the options of a command line.

        Raises:
            ValueError: an option is unknown or out of range, or its file cannot be used; the message is one sentence.
        """
        options = Options(settings.options)
        api, schema = options.text("api"), options.text("schema")
        made = cls(
            access=_access(api, settings.api_key),
            schema=_schema(schema),
            lose_every=options.integer("lose-every", 0, 0, 1_000_000_000),
            lose_after_start_ack_ns=int(
                options.number("lose-after-start-ack-ms", 0, 0, 1000 * _HOUR_S) * 1_000_000
            ),
            keepalive_interval_s=options.number("ka-interval", limits.KEEPALIVE_INTERVAL_S, 0.01, _HOUR_S),
            connection_timeout_ms=options.integer(
                "connection-timeout-ms", limits.CONNECTION_TIMEOUT_MS, 1, 1_000_000_000
            ),
            subscriptions_per_connection=options.integer(
                "subscriptions-per-connection", limits.SUBSCRIPTIONS_PER_CONNECTION, 1, 1_000_000
            ),
            starts_per_s=options.number("starts-per-s", 0, 0, 1_000_000),
            payload_bytes=options.integer("payload-bytes", limits.EVENT_MAX_BYTES, 1, 100_000_000),
            rewrites_json=options.word("awsjson", "keep", ("keep", "rewrite")) == "rewrite",
        )
        options.finish()
        return made


def _access(file: str | None, api_key: str) -> AccessControl:
    """Return the API's access control: by ``api_key`` only, or by the modes in the `auth` of the API file ``file``."""
    if file is None:
        definition = ApiDefinition.simple(["default"], api_key)
    else:
        # Import this only here, because it loads pydantic and the YAML reader.
        from loadgen.server.api_file import define, load_api_file

        path = Path(file)
        definition = define(load_api_file(path), path.parent, api_key, os.environ)
    return AccessControl(definition.authorizers, definition.allowed)


def _schema(file: str | None) -> Schema:
    if file is None:
        return Schema()
    try:
        return Schema(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"the schema file {file[:200]!a} cannot be read: {error.strerror}") from None
    except SchemaError as error:
        raise OptionError(f"the schema file {file[:200]!a} {error}") from None
    except UnicodeDecodeError:
        raise OptionError(f"the schema file {file[:200]!a} is not UTF-8") from None
