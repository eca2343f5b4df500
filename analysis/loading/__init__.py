"""Reading a run's folder, slice by slice where it is large."""
