"""Pruners decide which trials go on: one function per file, registered as ``autotune.pruners``."""
