"""Write a module of JAX with Adan or AdamW; for optax."""

from __future__ import annotations

from string import Template

from autotune.arguments.parts import clipped, plain, refusal, refuse_unsaid
from autotune.export.header import lines
from autotune.export.python import docstring, literal
from autotune.export.run import complete, run_of, terms
from autotune.results.tuned import Tuned

suffix = ".py"

FORM = "optax"
_HEAD = '''\
"""$provenance

Use it in training:

    optimizer = build()
    state = optimizer.init(params)
    updates, state = optimizer.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
"""

from __future__ import annotations
'''
_TAIL = '''\
HYPER: dict[str, Any] = {
$hyper
}
STEPS = $steps
RISING = $rising  # steps of the warm-up
CLIP = $clip  # largest norm of all gradients; 0 is off


def schedule(count: Any) -> Any:
    """Return lr at a step, counted from 0: linear warm-up, then cosine to zero."""
    count = jnp.asarray(count, float)
    warm = (count + 1) / (RISING + 1)
    share = jnp.clip((count - RISING) / max(1, STEPS - RISING), 0.0, 1.0)
    return LR * jnp.where(count < RISING, warm, 0.5 * (1 + jnp.cos(jnp.pi * share)))


def decayed(params: Any) -> Any:
    """Return which parameters are decayed: those with ndim > 1."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def build() -> optax.GradientTransformation:
    """Build the optimizer with its schedule; parameters with ndim <= 1 are not decayed."""
    clip = optax.clip_by_global_norm(CLIP) if CLIP else optax.identity()
    return optax.chain(clip, $built)
'''
_ADAMW = Template(
    _HEAD
    + """
from typing import Any

import jax
import jax.numpy as jnp
import optax

LR = $lr
"""
    + _TAIL
)
_ADAN = Template(
    _HEAD
    + """
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

LR = $lr
"""
    + _TAIL
    + '''

class AdanState(NamedTuple):
    """Averages of gradient, difference and square, the last gradient, and the steps."""

    m: Any
    v: Any
    n: Any
    g: Any
    count: Any


def adan(b1: float, b2: float, b3: float, eps: float) -> optax.GradientTransformation:
    """Return Adan as its authors' code computes it.

    It is not optax.adan, which weights the difference of gradients by 1 - b2 instead of b2.
    """

    def init(params: Any) -> AdanState:
        nothing = jax.tree.map(jnp.zeros_like, params)
        return AdanState(nothing, nothing, nothing, nothing, jnp.zeros([], jnp.int32))

    def update(gradients: Any, state: AdanState, params: Any = None) -> tuple[Any, AdanState]:
        t = state.count + 1
        seen = state.count > 0
        d = jax.tree.map(lambda g, old: jnp.where(seen, g - old, 0.0), gradients, state.g)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, gradients)
        v = jax.tree.map(lambda v, d: b2 * v + (1 - b2) * d, state.v, d)
        n = jax.tree.map(
            lambda n, g, d: b3 * n + (1 - b3) * (g + b2 * d) ** 2, state.n, gradients, d
        )
        c1, c2, c3 = 1 - b1**t, 1 - b2**t, jnp.sqrt(1 - b3**t)
        u = jax.tree.map(
            lambda m, v, n: (m / c1 + b2 * v / c2) / (jnp.sqrt(n) / c3 + eps), m, v, n
        )
        return u, AdanState(m, v, n, gradients, t)

    return optax.GradientTransformation(init, update)


def rated(weight_decay: float, proximal: bool) -> optax.GradientTransformation:
    """Return the step at the schedule's rate, with decay after it (proximal) or beside it."""

    def init(params: Any) -> Any:
        return jnp.zeros([], jnp.int32)

    def update(updates: Any, count: Any, params: Any = None) -> tuple[Any, Any]:
        lr = schedule(count)

        def step(u: Any, p: Any, decays: bool) -> Any:
            wd = weight_decay if decays else 0.0
            if proximal:
                return (p - lr * u) / (1 + lr * wd) - p
            return -lr * (u + wd * p)

        return jax.tree.map(step, updates, params, decayed(params)), count + 1

    return optax.GradientTransformation(init, update)
'''
)
_DEFAULTS = {"adan": (0.98, 0.92, 0.99), "adamw": (0.9, 0.999)}
_BUILT = {
    "adan": "adan(**HYPER), rated(WEIGHT_DECAY, PROXIMAL)",
    "adamw": "optax.adamw(schedule, **HYPER, weight_decay=WEIGHT_DECAY, mask=decayed)",
}


def render(tuned: Tuned) -> str:
    """Write a module with ``build()``, whose updates are ours but for the order of sums.

    Raises:
        SpecError: It is another optimizer than Adan or AdamW, or has what optax has not.
    """
    run = run_of(tuned, FORM)
    left = plain(FORM, tuned.optimizer, complete(tuned), tuple(_BUILT))
    if tuned.optimizer not in _BUILT:
        raise refusal(FORM, tuned.optimizer, f"search {' or '.join(_BUILT)}")
    norm = clipped(left)
    left.pop("max_grad_norm", None)
    betas = left.pop("betas", _DEFAULTS[tuned.optimizer])
    hyper = {f"b{n}": beta for n, beta in enumerate(betas, 1)} | {"eps": left.pop("eps", 1e-8)}
    rates = [literal(left.pop("lr")), f"WEIGHT_DECAY = {left.pop('weight_decay', 0.0)!r}"]
    if tuned.optimizer == "adan":
        rates.append(f"PROXIMAL = {left.pop('decay', 'proximal') == 'proximal'}")
    refuse_unsaid(FORM, tuned.optimizer, left, {"amsgrad": False})
    said = terms(
        run,
        undecayed="parameters with ndim <= 1",
        clip=f"all gradients at norm {norm}, by optax.clip_by_global_norm" if norm else "none",
    )
    body = _ADAN if tuned.optimizer == "adan" else _ADAMW
    return body.substitute(
        provenance=docstring([*lines(tuned), *said]),
        lr="\n".join(rates),
        hyper="\n".join(f"    {literal(k)}: {literal(v)}," for k, v in hyper.items()),
        steps=run.steps,
        rising=run.rising,
        clip=literal(norm),
        built=_BUILT[tuned.optimizer],
    )
