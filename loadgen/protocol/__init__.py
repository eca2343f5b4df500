"""Wire formats without I/O: one package for each target protocol."""
