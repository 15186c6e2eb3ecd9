"""Tune an optimizer with Optuna: what its user would write; ``real_clock.py`` sets it beside ours.

Two processes share a study in SQLite. Space, task, schedule and rungs are ours, and the default is
tried first. What the minutes cut short is pruned. Prints the best setting of the complete runs.
"""

from __future__ import annotations

import time

BEGAN = time.time()  # what is imported from here on takes of the minutes

import argparse  # noqa: E402
import json  # noqa: E402
import multiprocessing  # noqa: E402

import optuna  # noqa: E402
from optuna.trial import Trial, TrialState  # noqa: E402

from autotune import optimizers  # noqa: E402
from autotune.optimizers.groups import split  # noqa: E402
from autotune.pruners.ladder import rungs_of  # noqa: E402
from autotune.space.presets import presets_of  # noqa: E402
from autotune.space.spaces import Choice, Params, Space, Value, build  # noqa: E402
from autotune.tasks.base import Task  # noqa: E402
from autotune.tasks.resolve import resolve  # noqa: E402
from autotune.training.lr_schedule import multiplier  # noqa: E402
from autotune.training.process import single_threaded  # noqa: E402

METHODS = ("median", "hyperband", "random")


def suggest(trial: Trial, space: Space) -> Params:
    """Draw a setting."""
    found: dict[str, Value] = {}
    for name, each in space.parameters.items():
        if isinstance(each, Choice):
            found[name] = trial.suggest_categorical(name, each.options)
        else:
            found[name] = trial.suggest_float(name, each.low, each.high, log=each.log)
    return found


def trained(
    trial: Trial, task: Task, space: Space, given: argparse.Namespace, rungs: tuple[int, ...]
) -> float:
    """Train a setting, and return its loss at the end; raises TrialPruned."""
    setting, run = space.setting(suggest(trial, space)), task.start(given.seed)
    groups = split(run.model, setting.hyper.get("weight_decay", 0.0))
    optimizer, loss = optimizers.create(given.optimizer, groups, **setting.hyper), float("inf")
    run.model.train()
    for step in range(task.steps):
        for group in optimizer.param_groups:
            group["lr"] = setting.hyper["lr"] * multiplier(step, task.steps, setting.warmup)
        optimizer.zero_grad()
        training = run.loss(step)
        if time.time() > BEGAN + 60 * given.minutes or not training.isfinite():
            raise optuna.TrialPruned
        training.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step + 1 in rungs:
            loss = run.evaluate().loss
            trial.report(loss, step + 1)
            if trial.should_prune():
                raise optuna.TrialPruned
    return loss


def study_of(given: argparse.Namespace, rungs: tuple[int, ...], worker: int) -> optuna.Study:
    """Open the study, with TPE as Optuna advises for several processes, or by chance."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruners = {
        "median": optuna.pruners.MedianPruner(),
        "hyperband": optuna.pruners.HyperbandPruner(rungs[0], rungs[-1], reduction_factor=3),
        "random": optuna.pruners.NopPruner(),
    }
    chance = 1000 * given.seed + worker
    tpe = optuna.samplers.TPESampler(seed=chance, constant_liar=True)
    return optuna.create_study(
        study_name=given.method,
        storage=given.storage,
        sampler=optuna.samplers.RandomSampler(chance) if given.method == "random" else tpe,
        pruner=pruners[given.method],
        load_if_exists=True,
    )


def work(given: argparse.Namespace, task: Task, space: Space, worker: int) -> None:
    """Run trials in this process until the minutes are over."""
    rungs = rungs_of(task.facts()).steps
    study_of(given, rungs, worker).optimize(
        lambda trial: trained(trial, task, space, given, rungs),
        timeout=max(0.0, BEGAN + 60 * given.minutes - time.time()),
    )


def main() -> None:
    """Tune, and print the winner as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--optimizer", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    single_threaded()  # before the fork: a child cannot use this process's threads
    task = resolve(given.model)
    space = build(optimizers.space(given.optimizer), optimizers.defaults(given.optimizer), {})
    study = study_of(given, rungs_of(task.facts()).steps, 0)
    default = presets_of(given.optimizer, space)[0].setting
    if given.method != "random":
        study.enqueue_trial(dict(default.params))
    workers = [multiprocessing.Process(target=work, args=(given, task, space, k)) for k in (1, 2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    whole = [each for each in study.trials if each.state is TrialState.COMPLETE]
    setting = space.setting(study.best_params) if whole else default
    found = {"hyper": setting.hyper, "warmup": setting.warmup, "trials": len(study.trials)}
    print(json.dumps({**found, "whole": len(whole)}))  # noqa: T201  the result


if __name__ == "__main__":
    main()
