"""Run one search from start to end, by one process or many."""
