"""A command of the user's while it runs: its processes, its output, and what it reports.

``report`` and ``keeper`` are also run by processes that have nothing but Python: they import its
standard library alone.
"""
