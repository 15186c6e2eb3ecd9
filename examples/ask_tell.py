"""Ask and tell: the loop is yours; each trial says with which setting and how far to train.

Run it in two terminals at once, and both train trials of one search. Stop it, and the same command
goes on.
"""

from __future__ import annotations

import torch
from digits import digits, network, validation_loss

import autotune


def train(trial: autotune.Trial) -> None:
    """Train from ``trial.start`` to ``trial.stop``, reporting where it is measured."""
    images, labels = digits()[0].tensors
    model = network(trial.seed)
    optimizer = trial.build(model)
    if trial.state:  # it was paused: go on, instead of beginning again at step 0
        model.load_state_dict(trial.state["model"])
        optimizer.load_state_dict(trial.state["optimizer"])
        torch.set_rng_state(trial.state["chance"])
    schedule = trial.schedule(optimizer)
    for step in range(trial.start + 1, trial.stop + 1):
        batch = torch.randint(len(images), (32,))
        torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step in trial.evaluate and not trial.report(step, validation_loss(model)):
            break
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    trial.save({**state, "chance": torch.get_rng_state()})


def main(trials: int = 6, steps: int = 81) -> autotune.Result:
    """Search settings of two optimizers, and print what was found."""
    tuner = autotune.Tuner(
        ["adan", "adamw"], name="ask-tell", steps=steps, trials=trials, data="digits 8x8"
    )
    for trial in tuner:
        train(trial)
    print(tuner.result)
    return tuner.result


if __name__ == "__main__":
    main()
