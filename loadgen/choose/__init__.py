"""Run one scenario on several services, and put them side by side: `loadgen choose`."""
