"""The ledger: it compares expected with actual deliveries and decides the outcome of each."""
