"""One file a step, each with its own frozen copy of the tables it touches."""
