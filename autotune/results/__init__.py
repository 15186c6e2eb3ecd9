"""What a search found: comparisons, intervals, and the tuned settings."""
