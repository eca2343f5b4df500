"""Reports on a run: in the terminal, as an HTML page, as PDF, and as files for CI."""
