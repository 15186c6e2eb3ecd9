"""Train a classifier of digits: ``plain.py`` as a generator, six lines of it changed.

autotune search --model generator.py:train --steps 81 --optimizer adan --optimizer adamw --trials 6
"""

import argparse
from ast import literal_eval

import torch
from digits import digits, network, validation_loss
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader


def build(model, options):
    given = {"lr": options.lr, "betas": options.betas, "weight_decay": options.weight_decay}
    optimizer = torch.optim.AdamW(model.parameters(), **given)
    return optimizer, CosineAnnealingLR(optimizer, options.steps)


def train(optimizer, steps, seed):
    torch.manual_seed(seed)
    model = network(seed)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer, schedule = optimizer(model)
    loader = DataLoader(digits()[0], 16, shuffle=True, num_workers=2, persistent_workers=True)
    step = batches = 0
    while step < steps:
        for images, labels in loader:
            (cross_entropy(model(images), labels) / 2).backward()
            batches += 1
            if batches % 2 or step == steps:
                continue
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            averaged.update_parameters(model)
            step += 1
            if step % 9 == 0:
                yield step, validation_loss(averaged.module)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--betas", type=literal_eval, default=(0.9, 0.999))
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=81)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for step, loss in train(lambda model: build(model, options), options.steps, options.seed):
        print(f"step {step}: validation loss {loss:.4f}")
