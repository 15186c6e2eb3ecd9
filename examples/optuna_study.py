"""Optuna searches our space: known settings first, and what diverges counts as infeasible."""

from __future__ import annotations

import optuna
from digits import digits, network, validation_loss
from torch import randint
from torch.nn.functional import cross_entropy

from autotune.integrations.optuna import enqueue_presets, guard, sampler, suggest


def main(trials: int = 20, steps: int = 81) -> optuna.Study:
    """Search settings of Adan, and print the best."""
    images, labels = digits()[0].tensors

    def objective(trial: optuna.Trial) -> float:
        adan = suggest(trial, "adan", steps=steps)
        model = network(seed=0)
        optimizer = adan.build(model)
        schedule = adan.schedule(optimizer)
        with guard(trial) as run:
            for step in range(1, steps + 1):
                batch = randint(len(images), (32,))
                cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                if step % 9 == 0 and not run.report(step, validation_loss(model)):
                    break
        return run.loss

    study = optuna.create_study(sampler=sampler(seed=0))
    enqueue_presets(study, "adan", steps=steps)
    study.optimize(objective, n_trials=trials)
    best = optuna.trial.FixedTrial(study.best_params)
    hyper, warmup = suggest(best, "adan", steps=steps)
    print(f"loss {study.best_value:.4f} with {hyper}, warm-up {warmup:.0%}")
    return study


if __name__ == "__main__":
    main()
