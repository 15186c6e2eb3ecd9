"""Networks that tasks and benchmarks train."""
