"""One search from beginning to end: opened, run by one or many processes, closed."""
