"""A data set of Hugging Face's on disk, read by a loader of torchdata's that knows its place.

The search takes the data set's fingerprint as what identifies the data: another data set cannot
join it. A trial that was paused goes on at the very batch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from datasets import Dataset, load_from_disk
from digits import digits, network, validation_loss
from torch.nn.functional import cross_entropy
from torchdata.stateful_dataloader import StatefulDataLoader

import autotune

FOLDER = "digits.arrow"


def written() -> Dataset:
    """Write the data unless they are there, and read them."""
    if not Path(FOLDER).exists():
        images, labels = digits()[0].tensors
        data = {"images": images.numpy(), "labels": labels.numpy()}
        Dataset.from_dict(data).save_to_disk(FOLDER)
    return load_from_disk(FOLDER).with_format("torch")


def train(trial: autotune.Trial, data: Dataset) -> None:
    """Train from ``trial.start`` to ``trial.stop``, reporting where it is measured."""
    model = network(trial.seed)
    optimizer = trial.build(model)
    loader = StatefulDataLoader(data, batch_size=32, shuffle=True)
    if trial.state:
        model.load_state_dict(trial.state["model"])
        optimizer.load_state_dict(trial.state["optimizer"])
        loader.load_state_dict(trial.state["loader"])
        torch.set_rng_state(trial.state["chance"])
    schedule = trial.schedule(optimizer)
    step, going = trial.start, True
    while going:
        for batch in loader:
            cross_entropy(model(batch["images"]), batch["labels"]).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step in trial.evaluate and not trial.report(step, validation_loss(model)):
                going = False
                break
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    trial.save({**state, "loader": loader.state_dict(), "chance": torch.get_rng_state()})


def main(trials: int = 4, steps: int = 81) -> autotune.Result:
    """Search settings of two optimizers, and print what was found."""
    data = written()
    tuner = autotune.Tuner(
        ["adan", "adamw"], name="datasets", steps=steps, trials=trials, data=data
    )
    for trial in tuner:
        train(trial, data)
    print(tuner.result)
    return tuner.result


if __name__ == "__main__":
    main()
