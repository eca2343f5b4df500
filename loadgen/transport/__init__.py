"""WebSocket connections and byte streams on the gevent hub, publishing over HTTP, and precise timers."""
