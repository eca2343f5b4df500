"""Generate load on realtime publish/subscribe services and record the results."""

from loadgen.search_path import put_locustfile_last

__version__ = "0.1.0"

# Must run before our other modules are imported: a locustfile may import this package first.
put_locustfile_last()
