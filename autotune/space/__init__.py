"""What may be set: ranges of an optimizer's settings, and the settings to try first."""
