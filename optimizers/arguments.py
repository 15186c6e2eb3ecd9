"""What the docstrings of several optimizers say alike, written once.

A class docstring names a text on a line of its own, as ``{lr}``; ``documented`` puts it there.
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any, TypeVar

from autotune.optimizers import transforms

_Class = TypeVar("_Class", bound=type)

_PLACE = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)

TEXTS = {
    "win": """\
With ``acceleration``, three sequences x, y and z begin at the parameter, and c1, c2 are
``reckless_steps``. Each line uses the new values of the lines above it::

    x = (x - lr u) / (1 + lr w)
    y = (y + c1 (x - lr u)) / (1 + c1 + c1 lr w)
    z = (z + c2 (x - lr u) + c2/c1 y) / (1 + c2 + c2/c1 + c2 lr w)

With 'win' the parameter is y, with 'win2' it is z. The other sequences are state: call
``reanchor()`` after anything but ``step`` has moved weights, or steps pull them back.
""",
    "average": """\
With ``acceleration='schedule-free'`` the first average (m, or B) is left out: g stands in its
place. Two sequences x and z begin at the parameter, which is y, and b is the decay of what was
left out::

    z = z - lr (u + w y)
    x = (1 - c) x + c z                    (c = k / the sum of all k so far)
    y = b x + (1 - b) z                    (k = t^r (largest lr so far)^weight_lr_power)

Train at a constant lr after the warm-up. ``eval()`` puts x into the parameters, to measure or
save the model, and ``train()`` puts y back.
""",
    "params": """\
params: An iterable of tensors, of (name, tensor) pairs, or of dictionaries, one for each
    group. Tensors are real, of any shape. A group has its tensors under 'params', and may
    set for itself any argument that stands before ``max_grad_norm``. One that is in a group
    twice is stepped once.
""",
    "lr": """\
lr: Learning rate: a number of at least 0, or a tensor that holds one. Default: 1e-3.
""",
    "betas": """\
betas: How much of m and of v a step keeps: 2 numbers in [0, 1), usually close to 1.
    Default: (0.9, 0.999).
""",
    "cautious": """\
cautious: Leave out the elements of u that go against the gradient, and divide the others
    by their share of the tensor (at least 0.001), so that the mean size stays.
    Default: False.
cautious_decay: Shrink only elements of which u times p is 0 or more: weights that u does
    not let grow. Not with Win. Default: False.
""",
    "cautious_source": """\
Cautious updates: Liang et al., arXiv:2411.16085. Cautious weight decay: Chen et al.,
arXiv:2510.12402.
""",
    "acceleration": """\
acceleration: 'none'; 'win', which keeps one more tensor per parameter; or 'win2', which
    keeps two. Some rules also have 'nesterov-ema', which keeps one. Default: 'none'.
reckless_steps: c1 and c2: how many times lr the steps of y and of z are; 2 numbers above 0.
    'win' uses the first only. Default: (2.0, 8.0).
""",
    "accelerations": """\
acceleration: 'none'; 'win', which keeps one more tensor per parameter; 'win2', which keeps
    two; 'schedule-free', which keeps one in place of the first average; or 'nesterov-ema',
    which keeps one. Default: 'none'.
reckless_steps: c1 and c2: how many times lr the steps of y and of z are; 2 numbers above 0.
    'win' uses the first only. Default: (2.0, 8.0).
r: With 'schedule-free', how much more later steps count in the average; at least 0.
    Default: 0.0.
weight_lr_power: With 'schedule-free', how much less steps of the warm-up count in it; at
    least 0. Default: 2.0.
""",
    "transforms": """\
gradient_filter: What gradients become before the rule: 'mars', g + G (g - previous g) with
    G = mars_gamma b / (1 - b), where b is the first beta or the momentum, each tensor then
    scaled down to a norm of 1; 'grokfast', g + grokfast_lamb s, where s is an average of
    gradients that begins at the first; or 'none'. Both keep one more tensor per parameter.
    Default: 'none'.
mars_gamma: How much of a gradient's change 'mars' adds; at least 0. Default: 0.025.
grokfast_alpha: How much of s a step of 'grokfast' keeps, in [0, 1). Default: 0.98.
grokfast_lamb: How much of s it adds; at least 0. Default: 2.0.
layer_clip: Largest norm of all gradients together, at least 0, of which each tensor has a
    part, down to which its gradient is scaled. 0 is off. Default: 0.0.
layer_split: That part: 'uniform' (layer_clip over the root of the number of tensors), or
    'dim' (as the root of a tensor's share of all elements). Default: 'uniform'.
coord_clip: Share of a tensor's gradient that is clipped, in [0, 1): of its n elements,
    the coord_clip n largest in size, rounded down, get the size of the next, and keep their
    signs. 0 is off; near 1 all get the size of the smallest. Default: 0.0.
update_clip: The same for u. Not with ``cautious``, nor where the step of each tensor is
    scaled already. Default: 0.0.
lookahead_stepsize: With acceleration 'nesterov-ema', how far ahead gradients are taken, as
    a multiple of the average move; at least 0. Default: 0.5.
lookahead_ema: How much of that average a step keeps, in [0, 1). Default: 0.99.
""",
    "lookahead": """\
lookahead_stepsize: With 'nesterov-ema', how far ahead gradients are taken, as a multiple of
    the average move; at least 0. Default: 0.5.
lookahead_ema: How much of that average a step keeps, in [0, 1). Default: 0.99.
""",
    "transform_source": """\
MARS: Yuan et al., arXiv:2411.10438, Algorithm 2, as in github.com/AGI-Arena/MARS with
``is_approx``. Grokfast: Lee et al., arXiv:2405.20233, as in github.com/ironjr/grokfast.
EMA-Nesterov: arXiv:2605.25395. Coordinate-wise clipping: Pan and Li, arXiv:2306.00204,
here with a threshold for each tensor.
""",
    "max_grad_norm": """\
max_grad_norm: Largest norm of all gradients together, at least 0. If it is exceeded, the
    step uses gradients scaled down to it; ``p.grad`` is not changed. 0 is off. Under a
    GradScaler on 'triton', which unscales inside the step, this is the way to clip. In
    ZeroRedundancyOptimizer set ``norm_group`` on its ``optim``, or each process clips its
    own part alone. Default: 0.0.
""",
    "backend": """\
backend: What runs the step: 'triton' (CUDA and ROCm), 'numba' (CPU), 'torch' (any device),
    or 'auto', the first of these that is installed and runs on the parameter's device.
    ``repr`` shows the choice. Default: 'auto'.
state_dtype: The dtype of m, v and other averages. None is float64 for float64 parameters
    and float32 for others; torch.float32 is float32 for all; torch.bfloat16 takes half the
    memory of that, and is rounded up or down at random so that the mean is right.
    Default: None.
stochastic_rounding: Round bfloat16 parameters up or down at random instead of to nearest,
    so that steps too small for bfloat16 are not lost. Not for float16 parameters.
    Default: False.
compact: Keep Win's extra tensors as bfloat16 differences from the parameter, in half the
    memory. Weights moved between steps take them along, and ``reanchor()`` lets them begin
    again there, as without. Default: False.
capturable: Keep step counts and lr on the device, so that a CUDA graph can capture a step.
    Needs 'triton' and parameters on one device. lr becomes a tensor:
    ``group["lr"].fill_(rate)`` changes it, also for replays. Default: False.
""",
    "raises": """\
TypeError: A value that must be a number is not, ``params`` holds something that is neither
    a tensor nor a group, or a keyword is unknown.
ValueError: A value is outside its range, a parameter is complex, there are no parameters, a
    group sets an argument that holds for the whole optimizer, or ``backend`` or
    ``capturable`` does not work on a parameter's device.
ImportError: ``backend`` needs a package that is not installed.
""",
    "average_source": """\
Schedule-Free: Defazio et al., arXiv:2405.15682, as in
github.com/facebookresearch/schedule_free.
""",
    "win_source": """\
Win and Win2: Zhou et al., ICLR 2023 and JMLR 25(83), 2024, as in github.com/sail-sg/win.
""",
}


def documented(cls: _Class) -> _Class:
    """Return the class, with each line ``{name}`` of its docstring replaced by that text.

    What its constructor takes as ``**transforms`` is told in its signature by name.
    """
    if cls.__doc__ is not None:  # python -OO keeps none
        cls.__doc__ = _PLACE.sub(_text, cls.__doc__)
    init: Any = vars(cls).get("__init__")
    told = None if init is None else transforms.written_out(init)
    if told is not None:
        init.__signature__ = told
    return cls


def _text(place: re.Match[str]) -> str:
    return indent(TEXTS[place[2]].rstrip(), place[1])
