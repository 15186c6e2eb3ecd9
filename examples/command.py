r"""Train a classifier of digits: ``plain.py`` for a command, one line of it changed.

autotune search --search command --steps 81 --optimizer adamw --trials 4 --set space.warmup=0 -- \
    python command.py --lr {lr} --betas {betas} --weight-decay {weight_decay} --steps {steps} \
    --seed {seed}
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


def train(options):
    steps, seed = options.steps, options.seed
    torch.manual_seed(seed)
    model = network(seed)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer, schedule = build(model, options)
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
                print(f"autotune step={step} loss={validation_loss(averaged.module)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--betas", type=literal_eval, default=(0.9, 0.999))
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=81)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())
