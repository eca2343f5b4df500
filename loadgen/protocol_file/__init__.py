"""Read protocol files, YAML that describes the protocol of a WebSocket service, and make `TargetProtocol`s of them.

A target names its protocol file before its URL, as in `nats+ws://host:port` or `mine.yaml+ws://host:port`.
"""

from loadgen.protocol_file.load import protocol_at, split, text_at
from loadgen.protocol_file.model import ProtocolFile, json_schema

__all__ = ["ProtocolFile", "json_schema", "protocol_at", "split", "text_at"]
