"""Decide what a study runs next: every decision depends only on the trials stored so far."""
