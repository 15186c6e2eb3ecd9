"""Several processes train each trial together: ``torchrun --nproc-per-node 2 ddp.py``.

Rank 0 has the search; every rank gets the same setting and stops at the same step. What a rank
reports is its own part of the loss: their mean counts.
"""

from __future__ import annotations

import torch
from digits import digits, network, validation_loss
from torch import distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import autotune


def train(trial: autotune.Trial) -> int:
    """Train until the trial says to stop; return the last step."""
    model = DistributedDataParallel(network(trial.seed))
    optimizer = trial.build(model)
    schedule = trial.schedule(optimizer)
    sampler = DistributedSampler(digits()[0], seed=trial.seed)
    loader = DataLoader(digits()[0], batch_size=16, sampler=sampler)
    step = epoch = 0
    while True:
        sampler.set_epoch(epoch)
        epoch += 1
        for images, labels in loader:
            cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step in trial.evaluate and not trial.report(step, validation_loss(model.module)):
                return step


def same(*what: object) -> None:
    """Fail unless all ranks have the same."""
    found: list[object] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, what)
    if any(each != found[0] for each in found):
        raise AssertionError(f"ranks differ: {found}")


def main(trials: int = 3, steps: int = 27) -> None:
    """Search settings of two optimizers, and print what was found."""
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    tuner = autotune.Tuner(["adan", "adamw"], name="ddp", steps=steps, trials=trials)
    for trial in tuner:
        same(trial.optimizer, trial.hyper, trial.seed, train(trial))
    result = tuner.result
    if distributed.get_rank() == 0:
        print(result)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
