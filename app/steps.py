"""Results of ``autotune bench step`` that were saved as files: how long a step takes, and whose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from autotune.app import look, words

PEER = "fastest other of its rule, times as long"  # a column
FILES, BYTES = 200, 5_000_000  # of a folder that are read, and of one file


@dataclass(frozen=True, kw_only=True)
class Step:
    """One implementation's steps.

    Args:
        rule: The optimizer whose rule it computes.
        name: Our backend, or who else's optimizer it is.
        own: Whether it is ours.
        ms: Median time of a step in milliseconds.
        lower: Its lower quartile.
        upper: Its upper quartile.
        stream: Bytes that a step must move, over its time, as a share of the memory's bandwidth.
        noisy: Whether the quartiles are over a tenth of the median apart.
        peer: How many times as long the fastest other one of its rule takes; None: there is none.
    """

    rule: str
    name: str
    own: bool
    ms: float
    lower: float
    upper: float
    stream: float
    noisy: bool
    peer: float | None = None

    @property
    def title(self) -> str:
        """How an axis calls it."""
        return words.markup(f"{self.rule} {self.name}" if self.own else f"{self.name}")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One benchmark.

    Args:
        about: What was measured where, as a sentence.
        steps: By rule, the fastest first.
        absent: Why something was not measured, by its name.
    """

    about: str
    steps: tuple[Step, ...]
    absent: Mapping[str, str]

    @property
    def rules(self) -> list[str]:
        """The rules that were measured."""
        return list(dict.fromkeys(step.rule for step in self.steps))


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that may be results, by their path in it."""
    found = sorted(path for path in folder.rglob("*.json") if path.is_file())
    small = [path for path in found if path.stat().st_size <= BYTES]
    return {path.relative_to(folder).as_posix(): path for path in small[:FILES]}


def read(path: Path) -> Result | None:
    """Return the result that a file holds; None where it holds something else."""
    try:
        return _result(json.loads(path.read_text(encoding="utf-8"))["bench"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _result(bench: Mapping[str, Any]) -> Result:
    own = [_own(row, bench["peers"]) for row in bench["rows"]]
    peers = [_step(row, name=str(row["peer"]), own=False) for row in bench["peers"]]
    machine, stream = bench["machine"], bench["stream"]
    return Result(
        about=(
            f"{bench['shapes']}: {bench['tensors']:,} tensors, {bench['parameters']:,} parameters "
            f"in {bench['dtype']}, on {machine['device']} ({bench['device']}, threads: "
            f"{bench['threads']}), {str(machine['date'])[:10]}, commit {machine['commit'] or '-'}; "
            f"{bench['rounds']} of {bench['rounds_planned']} rounds; the memory streams "
            f"{stream['gb_per_s']:.1f} GB/s ({stream['kind']})"
        ),
        steps=tuple(sorted([*own, *peers], key=lambda step: (step.rule, step.ms))),
        absent={str(name): str(why) for name, why in bench["absent"].items()},
    )


def _own(row: Mapping[str, Any], peers: Sequence[Mapping[str, Any]]) -> Step:
    ratios = [row["ratios"][p["peer"]] for p in peers if p["optimizer"] == row["optimizer"]]
    return _step(
        row, name=str(row["backend"]), own=True, peer=min(map(float, ratios), default=None)
    )


def _step(row: Mapping[str, Any], *, name: str, own: bool, peer: float | None = None) -> Step:
    return Step(
        rule=str(row["optimizer"]),
        name=name,
        own=own,
        ms=float(row["ms"]),
        lower=float(row["ms_q1"]),
        upper=float(row["ms_q3"]),
        stream=float(row["stream_fraction"]),
        noisy=bool(row["noisy"]),
        peer=peer,
    )


def figure(steps: Sequence[Step]) -> go.Figure:
    """Draw a bar for each implementation with its quartiles; ours in the backend's colour."""
    chart = go.Figure()
    backends = sorted({step.name for step in steps if step.own})
    colours = {name: look.PALETTE[i % len(look.PALETTE)] for i, name in enumerate(backends)}
    drawn = list(reversed(steps))
    chart.add_bar(
        x=[step.ms for step in drawn],
        y=[step.title for step in drawn],
        orientation="h",
        marker={
            "color": [colours[step.name] if step.own else look.NEUTRAL for step in drawn],
            "opacity": [1.0 if step.own else look.BEHIND for step in drawn],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [step.upper - step.ms for step in drawn],
            "arrayminus": [step.ms - step.lower for step in drawn],
            "color": look.NEUTRAL,
            "thickness": 1.5,
        },
        hovertemplate="%{y}: %{x:.4~g} ms<extra></extra>",
    )
    x = "ms a step, with quartiles"
    look.frame(chart, x=x, y="", height=92 + 26 * len(drawn), legend=False)
    return chart.update_yaxes(type="category", dtick=1)


def table(steps: Sequence[Step]) -> pd.DataFrame:
    """Return a row for each implementation."""
    return pd.DataFrame(
        [
            {
                "rule": step.rule,
                "whose": "ours" if step.own else "others'",
                "implementation": step.name,
                "ms": step.ms,
                "lower quartile": step.lower,
                "upper quartile": step.upper,
                "of the bandwidth": step.stream,
                PEER: step.peer,
                "noisy": step.noisy,
            }
            for step in steps
        ]
    )
