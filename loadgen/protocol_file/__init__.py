"""Protocol files: YAML that describes how a WebSocket service is spoken to, and what comes of one.

A target names its file before its URL, as `nats+ws://host:port` or `mine.yaml+ws://host:port`.
"""

from loadgen.protocol_file.load import adopt, protocol_at, split, text_at
from loadgen.protocol_file.model import ProtocolFile, json_schema

__all__ = ["ProtocolFile", "adopt", "json_schema", "protocol_at", "split", "text_at"]
