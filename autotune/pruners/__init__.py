"""Who decides which trials go on: one function a file, registered under ``autotune.pruners``."""
