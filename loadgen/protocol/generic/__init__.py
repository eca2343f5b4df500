"""Any WebSocket service, by what a protocol file says of it: frames to send, messages to recognise. Without I/O.

The file itself and how it is read are `loadgen.protocol_file`'s.
"""
