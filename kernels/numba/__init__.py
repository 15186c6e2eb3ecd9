"""The numba backend: compiled loops that step tensors on the CPU."""
