"""Showing a run: on the terminal, as a page, for CI."""
