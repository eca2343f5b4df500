"""Data of users: rows of CSV, JSON Lines and Parquet files, and which row each client and each publish takes."""
