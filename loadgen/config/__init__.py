"""Read the files that people write: YAML with line numbers, quantities with units, and error messages."""
