"""What only a GPU can tell of steps, graphs, launch settings and training."""
