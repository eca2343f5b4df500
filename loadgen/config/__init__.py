"""Read the files that people write: YAML with line numbers, units, and errors told in sentences."""
