"""The bodies of events, and where their stamps go.

`plans` says how a group's bodies are made, `makers` makes them, `place` describes where a stamp goes, `integrity`
computes checksums, and `stamping` puts a body and a stamp together and takes them apart again.
"""
