"""MQTT 5 as a target: AWS IoT Core and any broker, over TCP, TLS or WebSocket."""
