"""The Trainer of transformers: our optimizer and schedule go in, a callback reports and stops."""

from __future__ import annotations

import tempfile

import torch
from digits import digits, network
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import autotune
from autotune.integrations.huggingface import Callback


class Classifier(nn.Module):
    """What the Trainer asks of a model: called with a batch, it returns the loss."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.network = network(seed)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and the logits."""
        logits = self.network(images)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def rows(data: torch.utils.data.TensorDataset) -> list[dict[str, Tensor]]:
    """Return data as the Trainer takes them."""
    return [{"images": images, "labels": labels} for images, labels in data]


def train(trial: autotune.Trial, folder: str) -> None:
    """Train a model; the callback evaluates where the trial is measured, and stops at its end."""
    model = Classifier(trial.seed)
    optimizer = trial.build(model)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=trial.steps,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        seed=trial.seed,
        max_grad_norm=0.0,  # without this, the Trainer clips at 1
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(
        model,
        arguments,
        train_dataset=rows(digits()[0]),
        eval_dataset=rows(digits()[1]),
        callbacks=[Callback(trial=trial)],
        optimizers=(optimizer, trial.schedule(optimizer)),
    ).train()


def main(trials: int = 4, steps: int = 27) -> autotune.Result:
    """Search settings of two optimizers, and print what was found."""
    tuner = autotune.Tuner(["adan", "adamw"], name="hf-trainer", steps=steps, trials=trials)
    with tempfile.TemporaryDirectory() as folder:
        for trial in tuner:
            train(trial, folder)
    print(tuner.result)
    return tuner.result


if __name__ == "__main__":
    main()
