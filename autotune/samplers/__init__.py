"""Samplers propose settings: one function per file, registered as ``autotune.samplers``."""
