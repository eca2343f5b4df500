"""Sockets: WebSocket connections and byte streams on the gevent hub, HTTP publishing and precise timers."""
