"""Write the setting as YAML, with warnings and advice as comments; for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from autotune.export.header import lines
from autotune.results.tuned import Tuned, as_data

tables = True  # a schedule may be one
suffix = ".yaml"


class _Dumper(yaml.SafeDumper):
    """Safe YAML with numbers side by side, and nothing said by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _sequence(dumper: _Dumper, values: Sequence[Any]) -> yaml.Node:
    short = all(isinstance(value, int | float) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=short)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(tuple, _sequence)


def render(tuned: Tuned) -> str:
    """Write the whole record as one YAML document under a comment with its provenance."""
    comment = "".join(f"# {line}\n" for line in lines(tuned))
    return f"{comment}{dumped(as_data(tuned))}"


def dumped(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML, in the order given."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
