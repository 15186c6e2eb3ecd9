"""Ground truth: the formulas in plain float64 loops over numbers, sharing no code with the rest.

Each module has a class for one tensor: ``step(p, g, lr, t)`` takes lists and returns the new
parameter. Gradients come clipped (``clip.py``), and group-wide step counts as an argument.
"""
