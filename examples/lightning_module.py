"""Lightning: ``configure`` in the module, a callback in the Trainer."""

from __future__ import annotations

import lightning
import torch
from digits import digits, network
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import autotune
from autotune.integrations.lightning import Callback, configure, interval


class Classifier(lightning.LightningModule):
    """A module as any other, but for ``configure_optimizers``."""

    def __init__(self, trial: autotune.Trial) -> None:
        super().__init__()
        self.trial, self.network = trial, network(trial.seed)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the training loss."""
        images, labels = batch
        return cross_entropy(self.network(images), labels)

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        """Log what the callback reports."""
        images, labels = batch
        logits = self.network(images)
        self.log("val_loss", cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> dict[str, object]:
        """Return optimizer and schedule, stepped each step."""
        return configure(self, self.trial, self.trial.steps)


def train(trial: autotune.Trial) -> None:
    """Train a module; the callback reports where the trial is measured, and stops at its end."""
    train_data, validation = digits()
    lightning.Trainer(
        max_steps=trial.steps,
        val_check_interval=interval(trial),
        check_val_every_n_epoch=None,
        callbacks=[Callback(trial=trial)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(
        Classifier(trial),
        DataLoader(train_data, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=256),
    )


def main(trials: int = 4, steps: int = 27) -> autotune.Result:
    """Search settings of two optimizers, and print what was found."""
    tuner = autotune.Tuner(["adan", "adamw"], name="lightning", steps=steps, trials=trials)
    for trial in tuner:
        train(trial)
    print(tuner.result)
    return tuner.result


if __name__ == "__main__":
    main()
