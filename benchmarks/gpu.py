"""Measure what only a GPU can tell, section by section; on a CPU, try what can be tried there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from autotune.bench import machine
from autotune.bench.gpu import sections
from autotune.bench.gpu.section import Found, Row, measure
from autotune.cli.views import format
from autotune.cli.views.json import document
from autotune.cli.views.table import table


@click.command()
@click.option("--device", type=click.Choice(("cuda", "cpu")), default="cuda", show_default=True)
@click.option("--seconds", default=300, show_default=True, help="Of all sections.")
@click.option("--only", multiple=True, help="Sections whose names begin so.  [default: all]")
@click.option("--save", type=click.Path(path_type=Path), help="Also write the JSON document.")
def main(device: str, seconds: int, only: tuple[str, ...], save: Path | None) -> None:
    """Measure one device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"error: a GPU is needed, PyTorch {torch.__version__} sees none")
    until = time.monotonic() + seconds
    facts, found = machine.facts(device), list[Found]()
    click.echo(f"{facts['device']}, torch {torch.__version__}, commit {facts['commit']}")
    for section in sections.on(device):
        if not section.name.startswith(only or ""):
            continue
        found.append(measure(section, until - time.monotonic()))
        click.echo(f"\n{told(found[-1])}")
        if save is not None:  # now: a time limit then costs what is still to come
            text = document(machine=facts, device=device, sections=found)
            save.write_text(f"{text}\n", encoding="utf-8")


def told(found: Found) -> str:
    """Return a section as a table, and below it what could not be measured."""
    measured = [row for row in found.rows if "error" not in row]
    refused = [row for row in found.rows if "error" in row]
    lines = [f"{found.name} ({found.seconds:.0f} s)"]
    if measured:
        lines.append(table(list(_cells(measured))))
    lines += [f"not measured: {', '.join(map(str, row.values()))}"[:300] for row in refused]
    if found.error:
        lines.append(f"ended early: {found.error}"[:300])
    return "\n".join(lines)


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else format.number(value)


if __name__ == "__main__":
    main()
