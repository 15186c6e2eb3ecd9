"""Time Triton's kernel at the launch settings of ``kernels/triton/configs``, fastest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from autotune.bench import machine
from autotune.bench.step import arithmetic
from autotune.bench.step import clock as step_clock
from autotune.bench.step import stream as step_stream
from autotune.bench.step.contender import Own, probe
from autotune.bench.step.contest import Contest
from autotune.bench.step.plan import Stage
from autotune.bench.step.tensors import Tensors
from autotune.cli.document import document
from autotune.kernels.triton.configs import SWEPT, Config, using

OPTIMIZERS = ("adan", "adamw-win2")
SHAPES = ("resnet50", "gpt2")


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An optimizer whose steps use one launch setting."""

    own: Own
    launch: Config

    @property
    def name(self) -> str:
        """What it is called while the contest lasts."""
        return f"{self.own.name} {self.launch}"

    def build(self, params: list[torch.Tensor]) -> Steps:
        """Return what steps these parameters."""
        return Steps(optimizer=self.own.build(params), launched=self)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """An optimizer under its launch setting."""

    optimizer: torch.optim.Optimizer
    launched: Launched

    def step(self) -> None:
        """Take a step."""
        with using(self.launched.launch):
            self.optimizer.step()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one launch setting achieves."""

    optimizer: str
    shapes: str
    launch: dict[str, Any]
    ms: float
    stream_fraction: float


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--save", type=click.Path(path_type=Path), help="Also write the JSON document.")
def main(rounds: int, save: Path | None) -> None:
    """Sweep the launch settings of the fused kernel."""
    if not torch.cuda.is_available():
        raise SystemExit(f"error: the sweep needs a GPU, PyTorch {torch.__version__} sees none")
    stages = [Stage(shapes=s, dtype="float32", device="cuda", threads=1) for s in SHAPES]
    settings = [
        setting
        for stage in stages
        for name in OPTIMIZERS
        for setting in sweep(Own(rule=name, backend="triton"), stage, rounds)
    ]
    text = document(machine=machine.facts("cuda"), settings=settings)
    if save is not None:
        save.write_text(f"{text}\n", encoding="utf-8")
    for setting in settings:
        click.echo(setting)


def sweep(own: Own, stage: Stage, rounds: int, launches: Sequence[Config] = SWEPT) -> list[Setting]:
    """Time one optimizer at every setting in turn; return the fastest first."""
    contenders = [Launched(own=own, launch=launch) for launch in launches]
    contest = Contest(
        contenders=contenders,
        tensors=Tensors(stage.tensors, stage.torch_dtype, stage.device),
        stream=step_stream.of(stage.parameters, stage.device),
        clock=step_clock.of(stage.device),
        memory=machine.no_memory,
    )
    for _ in contest.play(rounds):
        pass
    moved = probe(own, stage.torch_dtype, stage.device).total * stage.parameters
    settings = [_setting(each, stage, contest, moved) for each in contenders]
    return sorted(settings, key=lambda setting: setting.ms)


def _setting(each: Launched, stage: Stage, contest: Contest, moved: float) -> Setting:
    turns = contest.turns[each.name]
    return Setting(
        optimizer=each.own.rule,
        shapes=stage.shapes,
        launch=asdict(each.launch),
        ms=arithmetic.milliseconds(turns).median,
        stream_fraction=arithmetic.share(turns, moved, contest.stream.size),
    )


if __name__ == "__main__":
    main()
