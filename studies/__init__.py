"""What is remembered: searches, studies and trials in SQL."""
