"""The format of a run folder: its files, their columns, keys and versions."""
