"""The ledger: expected against delivered, and the outcome of each delivery."""
