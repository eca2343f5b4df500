"""Compare prices and quotas of several services for one load; see `loadgen.planning.services.costing`."""
