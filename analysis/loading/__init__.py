"""Read a run folder, slice by slice if it is large."""
