"""accelerate: the loop of its guide, with gradients of two batches accumulated.

``accelerate launch --num_processes 2 accelerate_loop.py`` trains each trial in two processes.
"""

from __future__ import annotations

from accelerate import Accelerator
from digits import digits, network, validation_loss
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import autotune


def train(trial: autotune.Trial, accelerator: Accelerator) -> None:
    """Train until the trial says to stop; a step is one of the optimizer."""
    model = network(trial.seed)
    loader = DataLoader(digits()[0], batch_size=16, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, trial.build(model), loader)
    # Not prepared: it would be stepped once for each process.
    schedule = trial.schedule(optimizer)
    step = 0
    while True:
        for images, labels in loader:
            with accelerator.accumulate(model):
                accelerator.backward(cross_entropy(model(images), labels))
                optimizer.step()
                optimizer.zero_grad()
            if not accelerator.sync_gradients:
                continue
            schedule.step()
            step += 1
            if step in trial.evaluate:
                loss = validation_loss(accelerator.unwrap_model(model))
                if not trial.report(step, loss):
                    return


def main(trials: int = 4, steps: int = 27) -> autotune.Result:
    """Search settings of two optimizers, and print what was found."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    tuner = autotune.Tuner(["adan", "adamw"], name="accelerate", steps=steps, trials=trials)
    for trial in tuner:
        train(trial, accelerator)
        accelerator.free_memory()
    result = tuner.result
    accelerator.print(result)
    return result


if __name__ == "__main__":
    main()
