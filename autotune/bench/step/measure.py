"""Measure the steps of our optimizers on every backend, beside those of other people's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from autotune.bench import machine
from autotune.bench.step import bandwidth, first_step, results, timing
from autotune.bench.step.first_step import First
from autotune.bench.step.implementations import Contender, Stepper
from autotune.bench.step.results import Result
from autotune.bench.step.selection import Entrant, Lineup, lineup
from autotune.bench.step.timing import Contest
from autotune.bench.step.workload import Plan, Stage, Tensors
from autotune.errors import SpecError

Listener = Callable[[str], None]

_TEMPORARIES = 2 * 4  # bytes a parameter: room for what optimizers that go list by list allocate


def run(plan: Plan, listen: Listener) -> Result:
    """Measure what the plan asks for; an interrupt after a complete round ends it early."""
    stage = plan.stage
    _check_device(stage.device)
    facts = machine.facts(stage.device)  # now: files may change while it runs
    present = lineup(plan)
    _check_memory(stage, present.everyone)
    firsts = _first_steps(present, stage, listen) if plan.first_steps else {}
    with machine.threads(stage.threads):
        timed = contest(stage, [entrant.contender for entrant in present.everyone])
        rounds = _play(timed, plan.rounds, listen)
        return results.result(plan, facts, present, timed, firsts, rounds)


def _check_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            f"device 'cuda' is not there for PyTorch {torch.__version__}; use --device cpu"
        )


def _check_memory(stage: Stage, entrants: Sequence[Entrant[Contender]]) -> None:
    """Refuse what does not fit: one contender at a time, and what all of them share."""
    shared = 3 * stage.torch_dtype.itemsize  # parameters and two sets of gradients
    state = max(entrant.traffic.state for entrant in entrants)
    yardstick = bandwidth.memory(stage.parameters, stage.device)
    needed = stage.parameters * (shared + state + _TEMPORARIES) + yardstick
    free = machine.free(stage.device)
    if free is not None and needed > free:
        raise SpecError(
            f"shapes '{stage.shapes}' need about {needed / 1e9:.0f} GB of memory on "
            f"{stage.device}, {free / 1e9:.0f} GB are free; use fewer, such as --shapes resnet50"
        )


def _first_steps(present: Lineup, stage: Stage, listen: Listener) -> Mapping[str, First]:
    listen(f"first steps of {len(present.own)}, each twice in a process of its own")
    contenders = [entrant.contender for entrant in present.own]
    return {each.name: first_step.measure(each, stage) for each in contenders}


def contest(stage: Stage, contenders: Sequence[Stepper]) -> Contest:
    """Return the contest of these contenders, with all that it takes on the device."""
    gpu = stage.device == "cuda"
    return Contest(
        contenders=contenders,
        tensors=Tensors(stage.tensors, stage.torch_dtype, stage.device),
        stream=bandwidth.of(stage.parameters, stage.device),
        clock=timing.of(stage.device),
        memory=machine.gpu_memory if gpu else machine.no_memory,
    )


def _play(contest: Contest, rounds: int, listen: Listener) -> int:
    """Return how many rounds were completed."""
    done = 0
    listen(f"steps of {len(contest.contenders)}, in {rounds} rounds")
    try:
        for done in contest.play(rounds):
            listen(f"round {done} of {rounds} is done")
    except KeyboardInterrupt:
        if not done:
            raise
    return done
