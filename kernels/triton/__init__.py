"""The triton backend: kernels that step all tensors of a device at once."""
