"""A local stand-in of API Gateway WebSocket APIs: the gateway, and a process that imitates the Lambda backend."""
