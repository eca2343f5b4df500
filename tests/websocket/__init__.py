"""Cases from RFC 6455 that both our WebSocket server and our client must pass."""
