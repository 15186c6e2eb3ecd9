"""What a study runs next: every decision is a function of the trials stored so far."""
