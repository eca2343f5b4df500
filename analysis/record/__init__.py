"""The format of a run's folder: its files, their columns, keys and versions."""
