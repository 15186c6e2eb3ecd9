"""Where proposals come from: one function a file, registered under ``autotune.samplers``."""
