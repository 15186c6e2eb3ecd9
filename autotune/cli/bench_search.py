"""``autotune bench search``: this project's search against others, on recorded curves."""

from __future__ import annotations

import click
