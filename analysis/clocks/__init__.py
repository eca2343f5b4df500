"""How the clocks of workers stood to the master's, and how far off that may be."""
