"""Measurements of this project against others, each reproducible with one command."""
