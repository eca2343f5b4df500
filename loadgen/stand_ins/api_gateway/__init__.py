"""A local stand-in of API Gateway WebSocket APIs: the gateway, and a worker that plays the backend (form A)."""
