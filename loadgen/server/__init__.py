"""The embedded Event API: the default target, and the known truth to calibrate the generator against.

`serving.serve` runs it in this process, `process.ServerProcess` in one of its own. Importing this package
loads neither aiohttp nor uvloop, so that a process patched by gevent can start a server.
"""
