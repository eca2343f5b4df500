"""What the benchmarks of growth and endurance share: a sender of many subscriptions and sizes, and our receiver."""
