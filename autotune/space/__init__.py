"""Search spaces: the ranges of an optimizer's parameters, and the settings to try first."""
