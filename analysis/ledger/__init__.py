"""What was expected and what arrived: the ledger, and what became of each delivery."""
