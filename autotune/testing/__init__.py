"""Suites that every registered thing must pass; plugins may use them too."""
