"""Generating load on realtime publish/subscribe services and recording what happened."""

__version__ = "0.1.0"
