"""Offsets of the workers' clocks from the master's, with bounds of their error."""
