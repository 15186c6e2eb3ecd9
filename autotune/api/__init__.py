"""What Python users call; the names are public through ``autotune`` itself."""
