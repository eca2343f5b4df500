"""Show one scenario on several services side by side: latency, completeness, cost and limits, without a score."""
