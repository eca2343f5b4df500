"""AWS API Gateway WebSocket APIs as a target: subscribes and publishes are messages to routes of a backend."""
