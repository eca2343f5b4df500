"""Read a run folder; deliveries that exceed memory are read in slices of time."""
