"""Local stand-ins for other services, so that a scenario runs against each of them without an account.

Each stand-in is a package whose module `app` has a function `build(settings)` that returns an aiohttp application. A
stand-in imitates what clients under load can observe: messages, refusals, limits and losses. It has no storage.
"""
