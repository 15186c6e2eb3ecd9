"""Where trials run: in this process, in worker processes, batched, or on Ray."""
