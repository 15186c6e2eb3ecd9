"""Find what "short-runs" settings are made of: the best of a grid in full runs of built-in tasks.

Trains learning rates times first betas, and prints the best of each task and their geometric means.
Seconds for the small models, a quarter of an hour for ``resnet50``; names of models may be given.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from statistics import geometric_mean

from autotune.studies.setting import Setting
from autotune.tasks.resolve import resolve
from autotune.training.job import Job
from autotune.training.process import start_worker
from autotune.training.runner import perform

MODELS = ("mlp", "gpt-pico", "resnet-mini", "gpt-nano", "resnet50")
SEEDS = {"mlp": 3, "gpt-pico": 3}  # 1 for the others
RATES = {
    "adan": (0.003, 0.006, 0.0125, 0.025, 0.05, 0.1),
    "adamw": (0.001, 0.002, 0.004, 0.008, 0.016, 0.032),
}
FIRST_BETAS = (0.98, 0.9, 0.8, 0.6)
OTHER_BETAS = {"adan": (0.9, 0.96), "adamw": (0.99,)}


def curves(model: str, optimizer: str) -> Iterator[tuple[float, float, float]]:
    """Yield learning rate, first beta and mean loss of each setting of the grid."""
    arguments = {"model": model, "data": None, "steps": None, "batch_size": None}
    steps = resolve(model).facts()["steps"]
    for rate in RATES[optimizer]:
        for beta in FIRST_BETAS:
            hyper = {
                "lr": rate,
                "betas": (beta, *OTHER_BETAS[optimizer]),
                "weight_decay": 0.02,
            }
            losses = []
            for seed in range(1, 1 + SEEDS.get(model, 1)):
                job = Job(
                    trial=1, attempt=1, task=arguments, optimizer=optimizer,
                    setting=Setting(params={}, hyper=hyper, warmup=0.2), seed=seed, start=0,
                    stop=steps, target=steps, evaluate=(steps,),
                )  # fmt: skip
                points = [p for report in perform(job, lambda: False) for p in report.points]
                final = [point.loss for point in points if point.step == steps]
                losses += [math.inf if loss is None else loss for loss in final or [math.inf]]
            yield rate, beta, sum(losses) / len(losses)


def search(model: str, optimizer: str) -> tuple[float, float]:
    """Return the best rate and 1 - beta of a task's grid, and tell the best three settings."""
    found = sorted(curves(model, optimizer), key=lambda entry: entry[-1])[:3]
    told = ", ".join(f"lr {rate} beta {beta}: {loss:.3f}" for rate, beta, loss in found)
    _say(f"{optimizer} on {model}: {told}")
    return found[0][0], 1 - found[0][1]


def main(models: tuple[str, ...]) -> None:
    """Print the best settings."""
    start_worker()
    for optimizer in RATES:
        best = [search(model, optimizer) for model in models]
        rate, away = (geometric_mean(column) for column in zip(*best, strict=True))
        _say(f"{optimizer}: geometric means of the best are lr {rate:.4f}, 1 - beta {away:.2f}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or MODELS)
