"""The embedded Event API: the default target of a run, and the reference to calibrate the generator against.

`serving.serve` runs it in this process, `process.ServerProcess` in a subprocess. Importing this package loads neither
aiohttp nor uvloop, so that a process patched by gevent can start a server.
"""
