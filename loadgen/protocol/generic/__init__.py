"""The client for any WebSocket service that a protocol file describes: frames to send, messages to recognise; no I/O.

`loadgen.protocol_file` defines and reads the file.
"""
