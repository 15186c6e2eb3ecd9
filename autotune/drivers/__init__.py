"""What the drivers of devices tell."""
