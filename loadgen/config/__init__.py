"""Reading the files that people write: YAML with places, units, and sentences about what is wrong."""
