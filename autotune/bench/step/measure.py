"""Measure the steps of our optimizers on every backend, beside those of other people's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from autotune.bench import machine
from autotune.bench.step import bandwidth, first_step, results, timing
from autotune.bench.step.first_step import FirstStep
from autotune.bench.step.implementations import Implementation, OwnOrPeer
from autotune.bench.step.results import Result
from autotune.bench.step.selection import Probed, Selection, select
from autotune.bench.step.timing import Benchmark
from autotune.bench.step.workload import Options, Tensors, Workload
from autotune.errors import SpecError

Listener = Callable[[str], None]

_TEMPORARIES = 2 * 4  # bytes a parameter: room for what optimizers that go list by list allocate


def run(options: Options, listen: Listener) -> Result:
    """Measure what the options ask for; an interrupt after a complete round ends it early."""
    workload = options.workload
    _check_device(workload.device)
    facts = machine.facts(workload.device)  # now: files may change while it runs
    selected = select(options)
    _check_memory(workload, selected.everyone)
    first_steps = _first_steps(selected, workload, listen) if options.first_steps else {}
    with machine.threads(workload.threads):
        benchmark = prepare(workload, [each.implementation for each in selected.everyone])
        rounds = _run(benchmark, options.rounds, listen)
        return results.summarise(options, facts, selected, benchmark, first_steps, rounds)


def _check_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            f"device 'cuda' is not there for PyTorch {torch.__version__}; use --device cpu"
        )


def _check_memory(workload: Workload, probed: Sequence[Probed[OwnOrPeer]]) -> None:
    """Refuse what does not fit: one implementation at a time, and what all of them share."""
    shared = 3 * workload.torch_dtype.itemsize  # parameters and two sets of gradients
    state = max(each.traffic.state for each in probed)
    yardstick = bandwidth.memory(workload.parameters, workload.device)
    needed = workload.parameters * (shared + state + _TEMPORARIES) + yardstick
    free = machine.free(workload.device)
    if free is not None and needed > free:
        raise SpecError(
            f"shapes '{workload.shapes}' need about {needed / 1e9:.0f} GB of memory on "
            f"{workload.device}, {free / 1e9:.0f} GB are free; use fewer, such as --shapes resnet50"
        )


def _first_steps(
    selected: Selection, workload: Workload, listen: Listener
) -> Mapping[str, FirstStep]:
    listen(f"first steps of {len(selected.own)}, each twice in a process of its own")
    implementations = [each.implementation for each in selected.own]
    return {each.name: first_step.measure(each, workload) for each in implementations}


def prepare(workload: Workload, implementations: Sequence[Implementation]) -> Benchmark:
    """Return a benchmark of these implementations, with tensors, stream and clock of the device."""
    gpu = workload.device == "cuda"
    return Benchmark(
        implementations=implementations,
        tensors=Tensors(workload.tensors, workload.torch_dtype, workload.device),
        stream=bandwidth.stream(workload.parameters, workload.device),
        clock=timing.clock(workload.device),
        memory=machine.gpu_memory if gpu else machine.no_memory,
    )


def _run(benchmark: Benchmark, rounds: int, listen: Listener) -> int:
    """Return how many rounds were completed."""
    done = 0
    listen(f"steps of {len(benchmark.implementations)}, in {rounds} rounds")
    try:
        for done in benchmark.run(rounds):
            listen(f"round {done} of {rounds} is done")
    except KeyboardInterrupt:
        if not done:
            raise
    return done
