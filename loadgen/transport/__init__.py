"""Sockets: the WebSocket connection on the gevent hub, HTTP publishing, precise timers."""
