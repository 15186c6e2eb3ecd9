"""Real data that needs no download, and the user's own."""
