"""Generating load on realtime publish/subscribe services and recording what happened."""

from loadgen.search_path import put_locustfile_last

__version__ = "0.1.0"

# Before any other module of ours is imported: a locustfile may import us first of all.
put_locustfile_last()
