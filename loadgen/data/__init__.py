"""Users' data: rows of CSV, JSON Lines and Parquet files, and the assignment of rows to clients and publishes."""
