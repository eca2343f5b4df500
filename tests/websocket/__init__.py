"""Cases from RFC 6455 that both sides of a WebSocket must pass: our server and our client."""
